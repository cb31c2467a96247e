"""Time and memory of counting and GloVe as the corpus grows, with fixed memory, and estimates for a larger corpus.

Growth is measured in processor time of all threads together, which other work on the machine changes little. The corpus is taken
in parts (1/8, 2/8, 4/8 and all of its documents, so that pairs of tokens grow as in text) or repeated (1, 2, 4 and 8 times: no
new pairs). The parts give an estimate for a larger corpus, 10^9 tokens in 16 GB. To show how far this can be trusted, the smaller
parts also predict the largest, which is measured.
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
from common import fastest, script, write_result
from tokalign.common import cli
from tokalign.common.arrays import read_tensors
from tokalign.config.vectors import VectorsBlock
from tokalign.tokens.shards import SCHEMA, read_shard
from tokalign.vectors.cooccurrence import RESULT_BYTES, SPILLED_BYTES, chunk_positions
from tokalign.vectors.glove import LANES

FACTORS = (1, 2, 4, 8)
TRAINED_BYTES = 20
"""Memory per non-zero in training: column and value; row and column in its block (2 bytes each), logarithm and weight."""
KINDS = {"indptr": "int64", "indices": "int32", "values": "float32", "token_ids": "int32", "counts": "int64"}


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="FILE", help="tokens, Arrow IPC files")
    parser.add_argument("--tokenizer-info", type=Path, required=True, metavar="FILE", help="info.json with 'size'")
    parser.add_argument("--memory-gb", type=float, default=0.1, help="memory for counting, the same for all sizes")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--iterations", type=int, default=5, help="iterations of GloVe's training")
    parser.add_argument("--dimensions", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="runs of each; the fastest counts")
    parser.add_argument("--growth", choices=["parts", "repeats"], default="parts")
    parser.add_argument("--tokens", type=float, default=1e9, metavar="N", help="size of the estimated corpus")
    parser.add_argument("--target-gb", type=float, default=16.0, metavar="GB", help="memory of the estimate")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="folder for intermediate files")
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


def train_bytes(settings: dict[str, Any], nonzeros: float, kept_tokens: float) -> float:
    """Return the memory of GloVe's training: non-zeros, float32 vectors and squared gradients of two sides."""
    padded = math.ceil(settings["glove"]["dimensions"] / LANES) * LANES
    return nonzeros * TRAINED_BYTES + kept_tokens * 2 * 2 * 4 * padded


def measure(args: argparse.Namespace, settings: dict[str, Any], shards: list[Path], folder: Path) -> dict[str, Any]:
    """Count and train; return tokens, size of the result, time and memory of both."""
    counts = folder / "counts.safetensors"
    chosen = {key: value for key, value in settings["count"].items() if key != "memory_gb"}
    counting = fastest(
        script(
            "count_cooccurrences",
            shards=shards,
            tokenizer_info=args.tokenizer_info,
            settings=chosen,
            memory_mb=round(args.memory_gb * 1000),
            threads=args.threads,
            output=counts,
        ),
        args.repeats,
        environment={"TMPDIR": str(folder)},
    )
    vectors = {"vectors": folder / "vectors.safetensors", "objective": folder / "objective.json"}
    train = script("train_glove_vectors", cooccurrences=counts, settings=settings["glove"], threads=args.threads, **vectors)
    glove = fastest(train, args.repeats)
    tensors, _ = read_tensors(counts, {name: (kind, 1) for name, kind in KINDS.items()}, ("vocabulary_size",))
    documents, tokens = 0, 0
    for shard in shards:
        for batch in read_shard(shard):
            documents += batch.table.num_rows
            tokens += len(batch.ids)
    positions = int(tensors["counts"].sum()) + documents * chosen["window"]
    return {
        "tokens": tokens,
        "documents": documents,
        "kept_tokens": len(tensors["token_ids"]),
        "nonzeros": len(tensors["indices"]),
        "chunks": math.ceil(positions / chunk_positions(args.memory_gb)),
        "counting": counting.numbers(),
        "glove": glove.numbers(),
    }


def line(rows: list[dict[str, Any]], size: str, step: str) -> tuple[float, float]:
    """Fit processor seconds as a line of a size by least squares; return slope and value at 0."""
    slope, start = np.polyfit([row[size] for row in rows], [row[step]["cpu_s"] for row in rows], 1)
    return float(slope), float(start)


def power(rows: list[dict[str, Any]], column: str) -> float:
    """Return the power of the tokens by which a column grows between the last two sizes."""
    before, last = rows[-2:]
    return math.log(last[column] / before[column]) / math.log(last["tokens"] / before["tokens"])


def project(rows: list[dict[str, Any]], settings: dict[str, Any], tokens: float, memory_gb: float) -> dict[str, Any]:
    """Estimate time, memory and disk of a larger corpus from measured ones.

    Processor seconds of counting grow linearly with the tokens, those of training with the non-zeros. Non-zeros and tokens kept
    grow as powers of the tokens, fitted to the last two sizes (an overestimate, because the powers fall with size). Memory is
    ``memory_gb`` for counting (8 bytes per token for half of it), the result (16 bytes per non-zero), and the measured memory
    minus the result; chunks wait on disk, with 12 bytes per non-zero.

    Args:
        rows: from ``measure``, in order of size.
        settings: a block of vectors.
        tokens: size of the larger corpus.
        memory_gb: memory for counting, in addition to the result and the program.
    """
    last, window = rows[-1], settings["count"]["window"]
    times = tokens / last["tokens"]
    nonzeros, kept = (last[column] * times ** power(rows, column) for column in ("nonzeros", "kept_tokens"))
    counting, counting_start = line(rows, "tokens", "counting")
    training, training_start = line(rows, "nonzeros", "glove")
    positions = tokens * (1 + window * last["documents"] / last["tokens"])
    chunk = chunk_positions(memory_gb)
    chunks = math.ceil(positions / chunk)
    in_a_chunk = last["nonzeros"] * (tokens / chunks / last["tokens"]) ** power(rows, "nonzeros")
    result_gb, trained_gb = nonzeros * RESULT_BYTES / 1e9, train_bytes(settings, nonzeros, kept) / 1e9
    rest_gb = {
        "counting": max(row["counting"]["peak_rss_mb"] / 1e3 - row["nonzeros"] * RESULT_BYTES / 1e9 for row in rows),
        "glove": max(
            row["glove"]["peak_rss_mb"] / 1e3 - train_bytes(settings, row["nonzeros"], row["kept_tokens"]) / 1e9 for row in rows
        ),
    }
    return {
        "tokens": tokens,
        "memory_gb": memory_gb,
        "nonzeros_grow_with_tokens_to_the": round(power(rows, "nonzeros"), 3),
        "nonzeros": round(nonzeros),
        "kept_tokens": round(kept),
        "counting": {
            "seconds_per_million_tokens": round(counting * 1e6, 3),
            "cpu_s": round(counting_start + counting * tokens, 1),
            "chunks": chunks,
            "disk_gb": round(0 if chunks == 1 else chunks * in_a_chunk * SPILLED_BYTES / 1e9, 3),
            "result_gb": round(result_gb, 3),
            "peak_gb": round(rest_gb["counting"] + min(1, positions / chunk) * memory_gb + result_gb, 2),
        },
        "glove": {
            "seconds_per_million_nonzeros": round(training * 1e6, 3),
            "cpu_s": round(training_start + training * nonzeros, 1),
            "peak_gb": round(rest_gb["glove"] + trained_gb, 2),
        },
    }


def most_memory(rows: list[dict[str, Any]], settings: dict[str, Any], tokens: float, machine_gb: float) -> float:
    """Return the most memory for counting [GB] that fits the machine, in tenths, at least 0.1."""
    least = 0.1
    return max(least, math.floor((machine_gb - project(rows, settings, tokens, least)["counting"]["peak_gb"]) * 10) / 10)


def main(args: argparse.Namespace) -> None:
    """Measure, estimate, print and write."""
    args.shards, args.tokenizer_info = [path.resolve() for path in args.shards], args.tokenizer_info.resolve()
    settings, rows = VectorsBlock().plain(), []
    settings["count"]["memory_gb"] = args.memory_gb
    settings["glove"] |= {"iterations": args.iterations, "dimensions": args.dimensions}
    with tempfile.TemporaryDirectory(prefix="benchmark-counting-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        part = folder / "part.arrow"
        write_part(args.shards, 1, part)
        measure(args, settings, [part], folder)  # compiles
        for factor in FACTORS:
            shards = args.shards * factor
            if args.growth == "parts":
                write_part(args.shards, factor, part)
                shards = [part]
            rows.append({"factor": factor, **measure(args, settings, shards, folder)})
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    result: dict[str, Any] = {
        "benchmark": "counting_growth",
        "settings": {"count": settings["count"], "glove": settings["glove"], "threads": args.threads, "growth": args.growth},
        "measured": rows,
    }
    if args.growth == "parts":
        result["largest_from_the_smaller"] = project(rows[:-1], settings, rows[-1]["tokens"], args.memory_gb)
        memory_gb = most_memory(rows, settings, args.tokens, args.target_gb)
        result["larger_corpus"] = {"machine_gb": args.target_gb, **project(rows, settings, args.tokens, memory_gb)}
        print(f"largest, from the smaller: {result['largest_from_the_smaller']}\nlarger: {result['larger_corpus']}")
    if args.output:
        write_result(args.output, result, ["numpy", "numba", "pyarrow"])


if __name__ == "__main__":
    cli.run(main, arguments())
