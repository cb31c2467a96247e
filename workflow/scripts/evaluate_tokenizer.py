"""Measure a tokenizer on tokenized validation documents: fertility, compression, unknown tokens."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign import cli
from tokalign.files import write_json
from tokalign.tokenizer_metrics import evaluate_tokenizer


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--shard", type=Path, required=True, help="validation.arrow of the tokenizer")
    parser.add_argument("--vocabulary", type=Path, required=True, help="vocabulary.parquet of the tokenizer")
    parser.add_argument("--labels", type=cli.settings, default={}, help="JSON object copied into the result")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Measure and write."""
    write_json(args.output, evaluate_tokenizer(args.shard, args.vocabulary, args.labels))


if __name__ == "__main__":
    cli.run(main, arguments())
