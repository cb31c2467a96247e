"""Alignment by relative representation: time and peak memory, beside TokAlign's own program.

There are two measurements. First, ``relative`` and ``tokalign_paper`` beside cal_trans_matrix.py of the original (--tokalign, a
clone of github.com/ZNLP/TokAlign) on the same vectors and gold pairs: ratios of time and peak memory, and the number of target
tokens with the same answer. Each is one process, from reading vectors to writing the alignment; the original reads text, as in
its pipeline. Second, ``relative`` alone for a large vocabulary (--large): time, peak memory, and the products per second as a
share of the machine's own matrix multiplication, measured in the same process.

Vectors are synthetic unless given: two spaces rotated and perturbed at random, with two thirds of the source tokens spelled
alike on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import run, write_result
from tokalign.alignment.align import Side, align
from tokalign.alignment.matrix import heaviest_sources, read_matrix, write_alignment
from tokalign.alignment.methods.registry import METHODS
from tokalign.alignment.methods.tokalign_paper import equal_spellings
from tokalign.config.alignments import AlignmentSettings
from tokalign.tokenizers.vocabulary import Vocabulary, read_vocabulary, write_vocabulary
from tokalign.vectors.vectors import Vectors, read_vectors, write_vectors

ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
DIMENSIONS = 300


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokalign", type=Path, help="clone of TokAlign; without it, only ours is measured")
    parser.add_argument("--size", type=int, nargs=2, default=(29000, 17000), metavar=("TARGET", "SOURCE"))
    parser.add_argument("--large", type=int, nargs=2, default=(256000, 50000), metavar=("TARGET", "SOURCE"))
    parser.add_argument("--data", type=Path, help="folder with {target,source}.parquet (vocabulary) and .safetensors (vectors)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours; the fastest counts")
    parser.add_argument("--output", type=Path, help="JSON file of results; default: standard output")
    parser.add_argument("--machine", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--part", nargs=3, metavar=("METHOD", "DATA", "RESULT"), help=argparse.SUPPRESS)
    return parser


def make_data(folder: Path, sizes: Sequence[int]) -> None:
    """Write vocabularies and vectors of a target and a source side.

    This runs in a separate process: the peak memory of this one would count for the commands it starts.
    """
    folder.mkdir()
    with ProcessPoolExecutor(1) as pool:
        pool.submit(_make_data, folder, sizes).result()


def _make_data(folder: Path, sizes: Sequence[int]) -> None:
    rng = np.random.default_rng(1)
    meaning = rng.standard_normal((max(sizes), DIMENSIONS), dtype=np.float32)
    shared = min(sizes) * 2 // 3
    for name, size in zip(("target", "source"), sizes, strict=True):
        rotation = np.linalg.qr(rng.standard_normal((DIMENSIONS, DIMENSIONS)))[0].astype(np.float32)
        noise = rng.standard_normal((size, DIMENSIONS), dtype=np.float32)
        rows = (meaning[:size] + np.float32(0.7) * noise) @ rotation
        tokens = [f"t{i}" if i < shared else f"{name}{i}" for i in range(size)]
        order = rng.permutation(size)  # ids are unrelated to meanings
        ids = np.empty(size, np.int32)
        ids[order] = np.arange(size)
        vocabulary = Vocabulary([tokens[i] for i in order], [tokens[i].encode() for i in order], ["text"] * size, {})
        write_vocabulary(vocabulary, folder / f"{name}.parquet")
        counts = np.ones(size, np.int64)
        write_vectors(folder / f"{name}.safetensors", Vectors(rows, ids, counts, {"vocabulary_size": size}))


def read_sides(folder: Path) -> list[Side]:
    """Return the target and the source side."""
    names = ("target", "source")
    return [Side(read_vocabulary(folder / f"{n}.parquet"), None, read_vectors(folder / f"{n}.safetensors")) for n in names]


def matrix_multiplication(threads: int) -> float:
    """Return the peak floating point operations per second of float32 products of this depth, on all threads."""
    rng = np.random.default_rng(2)
    pairs = [[rng.standard_normal((4096, DIMENSIONS), dtype=np.float32) for _ in range(2)] for _ in range(threads)]
    results = [np.empty((4096, 4096), np.float32) for _ in range(threads)]

    def work(number: int) -> None:
        for _ in range(10):
            np.matmul(pairs[number][0], pairs[number][1].T, out=results[number])

    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(4):
            start = time.perf_counter()
            list(pool.map(work, range(threads)))
            best = max(best, threads * 10 * 2 * 4096**2 * DIMENSIONS / (time.perf_counter() - start))
    return best


def run_part(method: str, data: Path, result: Path, threads: int, machine: bool) -> None:
    """Align by one method in this process; write alignment, time, memory and, on request, the machine's peak."""
    target, source = read_sides(data)
    settings = AlignmentSettings(methods=[method]).plain() | {"threads": threads}
    start = time.perf_counter()
    alignment = align(target, source, {method: METHODS[method]}, settings)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    write_alignment(alignment, result.with_suffix(".safetensors"), result.with_suffix(".parquet"), {})
    products = len(target.vectors.token_ids) * len(source.vectors.token_ids)
    depth = settings["relative"]["pivots"]
    numbers = {
        "align_s": round(seconds, 3),
        "peak_rss_mb": round(peak, 1),
        "gflops": round(2 * products * depth / seconds / 1e9, 1),
    }
    if machine:
        numbers["machine_gflops"] = round(matrix_multiplication(threads) / 1e9, 1)
        numbers["share_of_machine"] = round(numbers["gflops"] / numbers["machine_gflops"], 3)
    result.write_text(json.dumps(numbers))


def ours(method: str, data: Path, folder: Path, threads: int, repeats: int, *, machine: bool = False) -> dict[str, Any]:
    """Measure one of our methods, fastest of several runs; omit ``wall_s`` if the machine is also measured."""
    command = [sys.executable, __file__, "--threads", str(threads), "--part", method, str(data), str(folder / method)]
    runs = []
    for _ in range(repeats):
        measured = run(command + ["--machine"] * machine, environment=ONE_BLAS_THREAD)
        runs.append(({} if machine else measured.numbers()) | json.loads((folder / method).read_text()))
    return min(runs, key=lambda numbers: numbers["align_s"])


def write_for_original(data: Path, folder: Path) -> None:
    """Write GloVe text files and the gold pairs as the original's pipeline does."""
    target, source = read_sides(data)
    for name, side in (("target", target), ("source", source)):
        with (folder / f"{name}.txt").open("w") as file:
            for i, row in zip(side.vectors.token_ids.tolist(), side.vectors.vectors, strict=True):
                file.write(f"{i} " + " ".join(map(repr, row.astype(np.float64).tolist())) + "\n")
            mean = side.vectors.vectors.mean(axis=0, dtype=np.float64).tolist()
            file.write("<unk> " + " ".join(map(repr, mean)) + "\n")
    gold = {str(i): j for i, j in equal_spellings(target.vocabulary, source.vocabulary).items()}
    (folder / "gold.json").write_text(json.dumps(gold, indent="\t"))


def original(tokalign: Path, data: Path, folder: Path) -> dict[str, Any]:
    """Measure the original program once."""
    write_for_original(data, folder)
    target, source = (len(read_vocabulary(data / f"{name}.parquet").tokens) for name in ("target", "source"))
    words = ["-s", folder / "source.txt", "-s1", source, "-t", folder / "target.txt", "-s2", target]
    words += ["-g", folder / "gold.json", "-r", "-n", 300, "-o", folder / "original.json"]
    return run([sys.executable, tokalign / "src/cal_trans_matrix.py", *map(str, words)]).numbers()


def compare(args: argparse.Namespace, data: Path, folder: Path) -> dict[str, Any]:
    """Measure ours and, if given, the original on the same vectors."""
    result: dict[str, Any] = {
        method: ours(method, data, folder, args.threads, args.repeats) for method in ("relative", "tokalign_paper")
    }
    if args.tokalign is None:
        return result
    theirs = result["original"] = original(args.tokalign, data, folder)
    for method in ("relative", "tokalign_paper"):
        result[method] |= {
            "times_faster": round(theirs["wall_s"] / result[method]["wall_s"], 2),
            "times_less_memory": round(theirs["peak_rss_mb"] / result[method]["peak_rss_mb"], 2),
        }
    mapping = json.loads((folder / "original.json").read_text())
    expected = np.array([mapping[str(i)] for i in range(len(mapping))])
    target, source = read_sides(data)
    open_ids = np.setdiff1d(target.vectors.token_ids, list(equal_spellings(target.vocabulary, source.vocabulary)))
    for method in ("relative", "tokalign_paper"):
        same = heaviest_sources(read_matrix(folder / f"{method}.safetensors")) == expected
        result[method] |= {"same_answers": float(same.mean()), "same_answers_without_gold": float(same[open_ids].mean())}
    result["tokens"] = {"target": len(expected), "source": source.vocabulary.size, "without_gold": len(open_ids)}
    return result


def main(args: argparse.Namespace) -> None:
    """Measure and write."""
    if args.part:
        run_part(args.part[0], Path(args.part[1]), Path(args.part[2]), args.threads, args.machine)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.data is None:
            make_data(folder / "own", args.size)
        result = {"threads": args.threads, "compared": compare(args, args.data or folder / "own", folder)}
        if args.large[0]:
            make_data(folder / "large", args.large)
            result["large"] = {"target": args.large[0], "source": args.large[1]}
            result["large"] |= ours("relative", folder / "large", folder, args.threads, 1, machine=True)
    if args.output:
        write_result(args.output, result, ["numpy", "scipy", "numba"])
    else:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(arguments().parse_args())
