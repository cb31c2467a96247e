"""Fetch the text column of a hub data set at a pinned revision (network)."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import atomic_directory
from tokalign.config.corpora import DatasetSettings
from tokalign.fetch.datasets import fetch_dataset


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, DatasetSettings)
    parser.add_argument("--output", type=Path, required=True, help="folder to create")
    return parser


def main(args: argparse.Namespace) -> None:
    """Fetch."""
    with atomic_directory(args.output) as folder:
        fetch_dataset(args.settings.plain(), folder)


if __name__ == "__main__":
    cli.run(main, arguments())
