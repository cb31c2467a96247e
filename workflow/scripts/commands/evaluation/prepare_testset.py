"""Prepare a test set: check the segments, questions or prompts of one data set and write them in one format per kind.

Settings: a `testsets` block of the configuration without its files. Give one of --files, --text-files and --fetched.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.testsets import TestsetSettings
from tokalign.evaluation.data.testset_preparation import prepare_testset


def language_file(text: str) -> tuple[str, Path]:
    """Parse LANGUAGE=FILE.

    Raises:
        argparse.ArgumentTypeError: the text has another form.
    """
    language, sign, path = text.partition("=")
    if not (language and sign and path):
        raise argparse.ArgumentTypeError(f"expected LANGUAGE=FILE, found {text!r}")
    return language, Path(path)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--name", required=True, help="name of the test set")
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--files", type=Path, nargs="+", help="JSONL (.gz, .zst) or Parquet files, in the order of the items")
    origin.add_argument(
        "--text-files",
        type=language_file,
        nargs="+",
        metavar="LANGUAGE=FILE",
        help="plain text; line n of each file is the same segment",
    )
    origin.add_argument("--fetched", type=Path, help="folder made by fetch_testset")
    cli.add_settings(parser, TestsetSettings)
    parser.add_argument("--items", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Check and write."""
    prepare_testset(
        args.name,
        args.settings,
        args.items,
        args.manifest,
        files=args.files or (),
        text_files=dict(args.text_files or ()),
        fetched=args.fetched,
    )


if __name__ == "__main__":
    cli.run(main, arguments())
