"""Align a target vocabulary to a source vocabulary by an ordered list of methods."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.alignment.align import Side, align, check_different
from tokalign.alignment.matrix import write_alignment
from tokalign.alignment.methods.registry import METHODS
from tokalign.common import cli
from tokalign.config.alignments import AlignmentSettings, read_by_methods


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    for side in ("source", "target"):
        parser.add_argument(f"--{side}-tokenizer", type=Path, required=True, help="resolved tokenizer folder")
        parser.add_argument(f"--{side}-vocabulary", type=Path, required=True, help="its vocabulary.parquet")
        parser.add_argument(f"--{side}-vectors", type=Path, help="its vectors, if a method reads them")
    cli.add_settings(parser, AlignmentSettings)
    parser.add_argument("--threads", type=int, required=True, metavar="N", help="number of threads")
    parser.add_argument("--matrix", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--table", type=Path, required=True, help="Parquet file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Align and write."""
    sides = [
        Side.read(*paths)
        for paths in (
            (args.target_tokenizer, args.target_vocabulary, args.target_vectors),
            (args.source_tokenizer, args.source_vocabulary, args.source_vectors),
        )
    ]
    check_different(sides[0].vocabulary, sides[1].vocabulary, str(args.target_tokenizer))
    settings = read_by_methods(args.settings.plain())
    methods = {name: METHODS[name] for name in settings["methods"]}
    alignment = align(*sides, methods, settings | {"threads": args.threads})
    write_alignment(alignment, args.matrix, args.table, {"settings": settings})


if __name__ == "__main__":
    cli.run(main, arguments())
