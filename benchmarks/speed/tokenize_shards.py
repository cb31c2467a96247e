"""Text to token shards: this workflow against ``datasets.map`` and a text file of ids, on the same cores.

Ours tokenizes a shard at a time with the tokenizer's own threads; ``datasets.map`` uses as many processes. Times are for
whole commands, after one run of each to have the files in memory. ``library`` is the lower bound for any program that calls the
tokenizers library: its ``encode_batch_fast`` alone, on text in memory, with as many threads, and the ids discarded.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow.parquet as pq
from common import Measured, run, script, write_result
from tokalign.common import cli
from tokalign.common.errors import InputError
from tokalign.tokenizers.loading import load_backend
from tokalign.tokens.shards import read_shard
from tokalign.tokens.tokenize import BATCH_DOCUMENTS

TWIN = Path(__file__).with_name("datasets_map.py")
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--text", type=Path, nargs="+", required=True, metavar="FILE", help="Parquet shards of documents")
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="DIR", help="tokenizer folder (hf)")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="runs of each; the fastest counts")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="folder for intermediate files")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file of results")
    return parser


def ours(args: argparse.Namespace, folder: Path) -> list[Measured]:
    """Tokenize each shard by a separate command, as the workflow does."""
    return [
        run(
            script(
                "tokenize_shard",
                text=text,
                tokenizer=args.tokenizer,
                output=folder / f"{number:05d}.arrow",
            ),
            environment={**OFFLINE, "RAYON_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "true"},
        )
        for number, text in enumerate(args.text)
    ]


def theirs(args: argparse.Namespace, folder: Path, attempt: int) -> Measured:
    """Tokenize all shards with ``datasets.map``."""
    words = [sys.executable, TWIN, "--text", *args.text, "--tokenizer", args.tokenizer, "--processes", args.threads]
    words += ["--cache", folder / f"cache-{attempt}", "--output", folder / "ids.txt"]
    return run([str(word) for word in words], environment={**OFFLINE, "TOKENIZERS_PARALLELISM": "false"})


def library(args: argparse.Namespace) -> float:
    """Return the seconds that the tokenizer alone takes."""
    backend = load_backend(args.tokenizer)
    seconds = 0.0
    for path in args.text:
        for batch in pq.ParquetFile(path).iter_batches(BATCH_DOCUMENTS, columns=["text"]):
            texts = batch.column(0).to_pylist()
            start = time.perf_counter()
            encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
            del encodings
            seconds += time.perf_counter() - start
    return seconds


def check_same(shards: list[Path], text: Path) -> dict[str, int]:
    """Compare ids document by document; return the numbers of documents and tokens.

    Raises:
        InputError: the ids of a document differ.
    """
    documents = (
        batch.ids[first:last].tolist()
        for shard in shards
        for batch in read_shard(shard)
        for first, last in itertools.pairwise(batch.offsets.tolist())
    )
    totals = {"documents": 0, "tokens": 0}
    with text.open(encoding="ascii") as file:
        for number, (own, line) in enumerate(itertools.zip_longest(documents, file)):
            if own is None or line is None or own != [int(word) for word in line.split()]:
                raise InputError(f"document {number}: other ids", mend="look for settings that differ between the two")
            totals["documents"] += 1
            totals["tokens"] += len(own)
    return totals


def main(args: argparse.Namespace) -> None:
    """Measure, compare the ids, print and write."""
    os.environ |= {"RAYON_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "true"}  # for ``library``
    args.text, args.tokenizer = [path.resolve() for path in args.text], args.tokenizer.resolve()
    with tempfile.TemporaryDirectory(prefix="benchmark-tokenize-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        own, other, alone = [], [], []
        for attempt in range(args.repeats + 1):
            alone.append(library(args))
            own.append(ours(args, folder))
            other.append(theirs(args, folder, attempt))
        totals = check_same(sorted(folder.glob("*.arrow")), folder / "ids.txt")
    own_wall = min(sum(measured.wall_s for measured in each) for each in own[1:])
    best = min(other[1:], key=lambda measured: measured.wall_s)
    comparison = {
        "our_wall_s": round(own_wall, 3),
        "datasets_wall_s": round(best.wall_s, 3),
        "our_tokens_per_s": round(totals["tokens"] / own_wall),
        "datasets_tokens_per_s": round(totals["tokens"] / best.wall_s),
        "ratio": round(best.wall_s / own_wall, 3),
        "our_peak_rss_mb": round(max(measured.peak_rss_mb for each in own for measured in each), 1),
        "datasets_peak_rss_mb": round(best.peak_rss_mb, 1),
        "library_wall_s": round(min(alone[1:]), 3),
        "library_share_of_ours": round(min(alone[1:]) / own_wall, 3),
        "same_ids": True,
    }
    for key, value in comparison.items():
        print(f"{key:24} {value}")
    if args.output:
        result = {"benchmark": "tokenize", "corpus": totals, "settings": {"threads": args.threads}, "comparison": comparison}
        write_result(args.output, result, ["tokenizers", "transformers", "datasets", "pyarrow"])


if __name__ == "__main__":
    cli.run(main, arguments())
