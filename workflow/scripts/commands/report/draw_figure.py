"""Draw one figure from its table."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.report.figures.sources import SOURCES


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--figure", choices=SOURCES, required=True, metavar="NAME", help=f"one of: {', '.join(SOURCES)}")
    parser.add_argument("--table", type=Path, required=True, metavar="FILE", help="CSV file to draw from")
    parser.add_argument(
        "--output", type=Path, nargs="+", required=True, metavar="FILE", help="files to write; the suffix names the format"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Draw."""
    from tokalign.report.figures.draw import draw
    from tokalign.report.tables.files import read_csv

    draw(args.figure, read_csv(args.table), args.output)


if __name__ == "__main__":
    cli.run(main, arguments())
