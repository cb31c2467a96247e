"""Fetch the items of a hub data set at a pinned revision, as they are (network)."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import atomic_directory
from tokalign.config.testsets import TestsetSource
from tokalign.fetch.datasets import fetch_testset


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, TestsetSource)
    parser.add_argument("--output", type=Path, required=True, help="folder to create")
    return parser


def main(args: argparse.Namespace) -> None:
    """Fetch."""
    with atomic_directory(args.output) as folder:
        fetch_testset(args.settings.plain(), folder)


if __name__ == "__main__":
    cli.run(main, arguments())
