"""Choose the held-out documents that every model of an evaluation is scored on."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.evaluations import HeldoutSettings
from tokalign.evaluation.data.heldout import write_heldout


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--validation", type=Path, required=True, help="validation.parquet of a prepared corpus")
    cli.add_settings(parser, HeldoutSettings)
    parser.add_argument("--output", type=Path, required=True, help="Parquet file of documents to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Choose and write."""
    write_heldout(args.validation, args.settings, args.output)


if __name__ == "__main__":
    cli.run(main, arguments())
