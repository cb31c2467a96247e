"""Export an alignment as the original TokAlign's JSON: target id to source id."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tokalign.alignment.matrix import heaviest_sources, read_matrix
from tokalign.common import cli
from tokalign.common.files import atomic_file


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--matrix", type=Path, required=True, help="matrix of the alignment")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; -1 for rows without a source token")
    return parser


def main(args: argparse.Namespace) -> None:
    """Export."""
    sources = heaviest_sources(read_matrix(args.matrix)).tolist()
    with atomic_file(args.output) as partial:
        partial.write_text(json.dumps({str(i): source for i, source in enumerate(sources)}, indent="\t"), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main, arguments())
