"""Draw the figures from the tables; each figure is drawn if an output of it is given."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign import cli

FIGURES = ("compression", "bits-per-byte", "loss", "alignment")
TABLES = ("tokenizers", "bits-per-byte", "training", "alignments")


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    for table, figure in zip(TABLES, FIGURES, strict=True):
        parser.add_argument(f"--{table}-csv", type=Path, metavar="FILE", help=f"table that the figure {figure} is drawn from")
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
    for table, figure in zip(TABLES, FIGURES, strict=True):
        outputs = [path for kind in ("svg", "png") if (path := values[f"{figure.replace('-', '_')}_{kind}"])]
        source = values[f"{table.replace('-', '_')}_csv"]
        if outputs and not source:
            raise InputError(f"--{figure}-svg or --{figure}-png without its table", expected=f"--{table}-csv FILE")
        if outputs:
            draw(figure, read_csv(source), outputs)


if __name__ == "__main__":
    cli.run(main, arguments())
