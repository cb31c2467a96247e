"""Describe an alignment: tokens by category, scores, most-used source tokens, examples."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.alignment.report import report_alignment
from tokalign.common import cli
from tokalign.common.files import write_json


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--tokens", type=Path, required=True, help="tokens.parquet of the alignment")
    parser.add_argument("--source-vocabulary", type=Path, required=True, help="vocabulary.parquet of the source")
    parser.add_argument("--target-vocabulary", type=Path, required=True, help="vocabulary.parquet of the target")
    parser.add_argument(
        "--shards", type=Path, nargs="*", default=[], help="train token shards of the target, to weight by frequency"
    )
    parser.add_argument("--labels", type=cli.settings, default={}, help="JSON object copied into the result")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Describe and write."""
    report = report_alignment(args.tokens, args.source_vocabulary, args.target_vocabulary, args.shards, args.labels)
    write_json(args.output, report)


if __name__ == "__main__":
    cli.run(main, arguments())
