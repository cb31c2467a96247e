"""Time and memory of an alignment as both vocabularies grow 1, 2, 4 and 8 times, so up to 64 times the comparisons.

Vocabularies and vectors are those of alignment.py, synthetic. Each run is a process; ``align_s`` excludes the start of Python
and reading and writing, ``wall_s`` includes them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from alignment import DIMENSIONS, make_data, ours
from common import write_result
from tokalign.common import cli
from tokalign.config.alignments import AlignmentSettings

FACTORS = (1, 2, 4, 8)


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(16000, 8000), metavar=("TARGET", "SOURCE"), help="smallest sizes")
    parser.add_argument("--methods", nargs="+", default=["relative", "tokalign_paper"], metavar="METHOD")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each; the fastest counts")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="folder for intermediate files")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file of results")
    return parser


def main(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="benchmark-alignment-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        for factor in FACTORS:
            target, source = sizes = [factor * size for size in args.size]
            data = folder / f"{factor}"
            make_data(data, sizes)
            if factor == FACTORS[0]:
                for method in args.methods:
                    ours(method, data, folder, args.threads, 1)  # compiles
            measured = {method: ours(method, data, folder, args.threads, args.repeats) for method in args.methods}
            rows.append({"factor": factor, "target": target, "source": source, **measured})
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if args.output:
        defaults = AlignmentSettings(methods=args.methods).plain()
        pivots = {method: defaults[method]["pivots"] for method in args.methods}
        settings = {"threads": args.threads, "repeats": args.repeats, "dimensions": DIMENSIONS, "pivots": pivots}
        result = {"benchmark": "alignment_growth", "settings": settings, "measured": rows}
        write_result(args.output, result, ["numpy", "scipy", "numba"])


if __name__ == "__main__":
    cli.run(main, arguments())
