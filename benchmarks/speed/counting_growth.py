"""Time and memory of counting co-occurrences as the corpus grows, in a fixed amount of memory, and what a larger one would take.

The corpus is taken in parts (1/8, 2/8, 4/8 and all of its documents, so that pairs of tokens grow as they do in text) or
repeated (1, 2, 4 and 8 times: no new pairs). From the parts is worked out what a larger corpus takes, 10^9 tokens in 16 GB.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
from common import defaults, run, script, write_result
from tokalign import cli
from tokalign.cooccurrence import POSITION_BYTES
from tokalign.shards import SCHEMA, read_shard
from tokalign.tensors import read_tensors

FACTORS = (1, 2, 4, 8)
SPILLED_BYTES = 12
"""Disk of an entry of a chunk: its column and its sum."""
RESULT_BYTES = 8
"""Memory of an entry of the result: its column and its value."""
LEAST_GB = 0.1
"""Least memory for counting that the configuration allows."""
KINDS = {"indptr": "int64", "indices": "int32", "values": "float32", "token_ids": "int32", "counts": "int64"}


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="FILE", help="tokens, Arrow IPC files")
    parser.add_argument("--tokenizer-info", type=Path, required=True, metavar="FILE", help="info.json with 'size'")
    parser.add_argument("--memory-gb", type=float, default=0.1, help="for counting, the same for all sizes")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--growth", choices=["parts", "repeats"], default="parts")
    parser.add_argument("--tokens", type=float, default=1e9, metavar="N", help="size of the corpus to work out")
    parser.add_argument("--target-gb", type=float, default=16.0, metavar="GB", help="memory to work it out for")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="folder for the files in between")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file of results")
    return parser


def write_part(shards: list[Path], factor: int, out: Path) -> None:
    """Write ``factor`` of every 8 documents to one shard."""
    with pa.OSFile(str(out), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for shard in shards:
            for batch in read_shard(shard):
                keep = np.flatnonzero(np.arange(batch.table.num_rows) % FACTORS[-1] < factor)
                if len(keep):
                    writer.write_batch(batch.table.take(pa.array(keep)))


def measure(args: argparse.Namespace, shards: list[Path], folder: Path) -> dict[str, Any]:
    """Count once; return tokens, time, memory and size of the result."""
    block = defaults("vectors")["count"]
    settings = {key: value for key, value in block.items() if key != "memory_gb"}
    counts = folder / "counts.safetensors"
    command = script(
        "count_cooccurrences",
        shards=shards,
        tokenizer_info=args.tokenizer_info,
        settings=settings,
        memory_mb=round(args.memory_gb * 1000),
        threads=args.threads,
        output=counts,
    )
    measured = run(command, environment={"TMPDIR": str(folder)})
    tensors, _ = read_tensors(counts, {name: (kind, 1) for name, kind in KINDS.items()}, ("vocabulary_size",))
    documents, tokens = 0, 0
    for shard in shards:
        for batch in read_shard(shard):
            documents += batch.table.num_rows
            tokens += len(batch.ids)
    positions = int(tensors["counts"].sum()) + documents * settings["window"]
    return {
        "tokens": tokens,
        "documents": documents,
        "kept_tokens": len(tensors["token_ids"]),
        "nonzeros": len(tensors["indices"]),
        "chunks": math.ceil(positions / (args.memory_gb * 1e9 / 2 / POSITION_BYTES)),
        **measured.numbers(),
    }


def line(x: list[float], y: list[float]) -> tuple[float, float]:
    """Fit a line by least squares; return its slope and its value at 0."""
    slope, start = np.polyfit(x, y, 1)
    return float(slope), float(start)


def project(rows: list[dict[str, Any]], tokens: float, memory_gb: float) -> dict[str, Any]:
    """Work out time, memory and disk of a larger corpus from measured ones.

    Time grows in a line with the tokens. Non-zeros grow as a power of the tokens, that of the last two sizes. In memory are
    the program, the result (8 bytes a non-zero), and what is left for counting; a chunk is what half of that holds, at 8 bytes
    a token. Chunks wait on disk, 12 bytes a non-zero.

    Args:
        rows: from ``measure``, by growing size.
        tokens: of the larger corpus.
        memory_gb: of the machine.
    """
    sizes = [row["tokens"] for row in rows]
    slope, start = line(sizes, [row["wall_s"] for row in rows])
    before, last = rows[-2:]
    power = math.log(last["nonzeros"] / before["nonzeros"]) / math.log(last["tokens"] / before["tokens"])
    nonzeros = last["nonzeros"] * (tokens / last["tokens"]) ** power
    program_gb = min(row["peak_rss_mb"] for row in rows) / 1000
    counting_gb = max(LEAST_GB, memory_gb - program_gb - nonzeros * RESULT_BYTES / 1e9)
    chunk = counting_gb * 1e9 / 2 / POSITION_BYTES
    positions = tokens * (1 + defaults("vectors")["count"]["window"] * last["documents"] / last["tokens"])
    chunks = math.ceil(positions / chunk)
    in_a_chunk = last["nonzeros"] * (min(chunk, tokens) / last["tokens"]) ** power
    peak_gb = program_gb + counting_gb + nonzeros * RESULT_BYTES / 1e9
    return {
        "tokens": tokens,
        "memory_gb": memory_gb,
        "counting_gb": round(counting_gb, 2),
        "seconds_per_million_tokens": round(slope * 1e6, 3),
        "wall_h": round((start + slope * tokens) / 3600, 3),
        "nonzeros_grow_with_tokens_to_the": round(power, 3),
        "nonzeros": round(nonzeros),
        "chunks": chunks,
        "disk_gb": round(0 if chunks == 1 else chunks * in_a_chunk * SPILLED_BYTES / 1e9, 1),
        "result_gb": round(nonzeros * RESULT_BYTES / 1e9, 2),
        "peak_gb": round(peak_gb, 2),
        "fits": peak_gb <= memory_gb + 1e-9,
    }


def main(args: argparse.Namespace) -> None:
    """Measure, work out, print and write."""
    args.shards, args.tokenizer_info = [path.resolve() for path in args.shards], args.tokenizer_info.resolve()
    rows = []
    with tempfile.TemporaryDirectory(prefix="benchmark-counting-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        measure(args, args.shards[:1], folder)  # compiles
        for factor in FACTORS:
            shards = args.shards * factor
            if args.growth == "parts":
                shards = [folder / "part.arrow"]
                write_part(args.shards, factor, shards[0])
            rows.append({"factor": factor, **measure(args, shards, folder)})
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    projection = project(rows, args.tokens, args.target_gb) if args.growth == "parts" else {}
    growth = {
        "time_ratio_per_token_ratio": round(
            (rows[-1]["wall_s"] / rows[0]["wall_s"]) / (rows[-1]["tokens"] / rows[0]["tokens"]), 3
        ),
        "peak_rss_ratio": round(rows[-1]["peak_rss_mb"] / rows[0]["peak_rss_mb"], 3),
    }
    for key, value in {**growth, **projection}.items():
        print(f"{key:36} {value}")
    if args.output:
        settings = {"memory_gb": args.memory_gb, "threads": args.threads, "growth": args.growth}
        result = {"benchmark": "counting_growth", "settings": settings, "measured": rows, "growth": growth}
        write_result(args.output, {**result, "projection": projection}, ["numpy", "numba", "pyarrow"])


if __name__ == "__main__":
    cli.run(main, arguments())
