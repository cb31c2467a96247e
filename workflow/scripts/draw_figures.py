"""Draw the figures from the tables; each figure is drawn if an output of it is given."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign import cli

FIGURES = {
    "compression": "tokenizers",
    "bits-per-byte": "bits-per-byte",
    "loss": "training",
    "progress": "training",
    "alignment": "alignments",
}
"""The table that each figure is drawn from."""


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    for table in dict.fromkeys(FIGURES.values()):
        figures = " and ".join(figure for figure, source in FIGURES.items() if source == table)
        parser.add_argument(f"--{table}-csv", type=Path, metavar="FILE", help=f"table that {figures} is drawn from")
    for figure in FIGURES:
        for kind in ("svg", "png"):
            parser.add_argument(f"--{figure}-{kind}", type=Path, metavar="FILE", help="figure to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Draw what is asked for."""
    from tokalign.errors import InputError
    from tokalign.figures import draw
    from tokalign.tables import read_csv

    values = vars(args)
    for figure, table in FIGURES.items():
        outputs = [path for kind in ("svg", "png") if (path := values[f"{figure.replace('-', '_')}_{kind}"])]
        source = values[f"{table.replace('-', '_')}_csv"]
        if outputs and not source:
            raise InputError(f"--{figure}-svg or --{figure}-png without its table", expected=f"--{table}-csv FILE")
        if outputs:
            draw(figure, read_csv(source), outputs)


if __name__ == "__main__":
    cli.run(main, arguments())
