"""Counting and GloVe training of this workflow against Stanford's C programs, on one corpus with the same settings.

Stanford's tools read the same tokens as text. Times are for whole commands, including reading and writing files and, for ours,
the start of Python (numba's compiled code is cached, as in every run but the first). Both objectives are the mean over the
non-zeros of f(X) / 2 * (w . c + a + b - ln X) ** 2, each taken before its step.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import fastest, run, run_together, script, write_result
from tokalign.common import cli
from tokalign.common.arrays import read_tensors
from tokalign.common.errors import InputError
from tokalign.common.files import read_json, sha256_file
from tokalign.config.vectors import VectorsBlock
from tokalign.vectors.token_text import write_token_text

CREC_BYTES = 16
"""Bytes of an entry in Stanford's file of counts: two ints and a double."""


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--glove", type=Path, required=True, metavar="DIR", help="checkout of Stanford's GloVe, built")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="FILE", help="tokens, Arrow IPC files")
    parser.add_argument("--tokenizer-info", type=Path, required=True, metavar="FILE", help="info.json with 'size'")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of Stanford's training and of ours")
    parser.add_argument("--dimensions", type=int, default=300)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--memory-gb", type=float, default=4.0, help="memory for counting and shuffling")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="runs of each training; the fastest counts")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="folder for intermediate files")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file of results")
    return parser


def stanford(
    args: argparse.Namespace, settings: dict[str, Any], text: Path, folder: Path, *, binary: bool = True
) -> dict[str, Any]:
    """Run vocab_count, cooccur, shuffle and glove; return the numbers of each and the objectives.

    Args:
        args: ``glove``, ``memory_gb``, ``seed``, ``threads`` and ``repeats`` of the command line.
        settings: a block of vectors.
        text: the corpus, from ``write_token_text``.
        folder: folder for all files.
        binary: whether vectors are written as stanford.bin, else as stanford.txt.
    """
    build, memory = args.glove / "build", ["-memory", f"{args.memory_gb}", "-verbose", "0"]
    vocabulary, counts, shuffled = folder / "vocab.txt", folder / "counts.bin", folder / "shuffled.bin"
    count, glove = settings["count"], settings["glove"]
    missing = [name for name in ("vocab_count", "cooccur", "shuffle", "glove") if not (build / name).is_file()]
    if missing:
        raise InputError(f"{build}: not built", found=f"no {', '.join(missing)}", mend="run make in the checkout")
    steps = {
        "vocab_count": run(
            [build / "vocab_count", "-min-count", str(count["min_count"]), "-verbose", "0"], stdin=text, stdout=vocabulary
        ),
        "cooccur": run(
            [
                *(build / "cooccur", "-symmetric", "1", "-window-size", str(count["window"]), "-vocab-file", vocabulary),
                *(*memory, "-overflow-file", folder / "overflow"),
            ],
            stdin=text,
            stdout=counts,
        ),
        "shuffle": run(
            [build / "shuffle", *memory, "-seed", str(args.seed), "-temp-file", folder / "temporary"],
            stdin=counts,
            stdout=shuffled,
        ),
    }
    train = [
        *(build / "glove", "-input-file", shuffled, "-vocab-file", vocabulary, "-save-file", folder / "stanford"),
        *("-gradsq-file", folder / "gradsq", "-save-gradsq", "0", "-threads", args.threads, "-x-max", glove["x_max"]),
        *("-alpha", glove["alpha"], "-eta", glove["learning_rate"], "-iter", glove["iterations"]),
        *("-vector-size", glove["dimensions"], "-binary", int(binary), "-seed", args.seed, "-verbose", "1"),
    ]
    steps["glove"] = fastest([str(word) for word in train], args.repeats)
    objective = [float(cost) for cost in re.findall(r"iter: \d+, cost: (\S+)", steps["glove"].output)]
    if len(objective) != glove["iterations"]:
        raise InputError("glove: no cost for each iteration", found=steps["glove"].output[-500:])
    nonzeros = shuffled.stat().st_size // CREC_BYTES
    numbers = {name: measured.numbers() for name, measured in steps.items()}
    return {**numbers, "nonzeros": nonzeros, "objective": objective}


def train_command(settings: dict[str, Any], counts: Path, threads: int, out: Path) -> list[str]:
    """Return the command line of our training."""
    paths = {"vectors": out.with_suffix(".safetensors"), "objective": out.with_suffix(".json")}
    return script("train_glove_vectors", cooccurrences=counts, settings=settings["glove"], threads=threads, **paths)


def count_command(args: argparse.Namespace, settings: dict[str, Any], threads: int, out: Path) -> list[str]:
    """Return the command line of our counting."""
    chosen = {key: value for key, value in settings["count"].items() if key != "memory_gb"}
    memory = {"memory_mb": round(args.memory_gb * 1000), "threads": threads}
    return script(
        "count_cooccurrences", shards=args.shards, tokenizer_info=args.tokenizer_info, settings=chosen, output=out, **memory
    )


def ours(args: argparse.Namespace, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Count and train on 1, 2 and the requested number of threads, and in two processes at once."""
    counts, threads = folder / "counts.safetensors", sorted({1, 2, args.threads})
    quick = {**settings, "glove": {**settings["glove"], "iterations": 1, "dimensions": 2}}
    run(count_command(args, settings, 1, counts))
    run(train_command(quick, counts, 1, folder / "compiled"))
    counting = {n: run(count_command(args, settings, n, counts)) for n in sorted({1, args.threads})}
    kinds = {name: (kind, 1) for name, kind in COUNTS.items()}
    tensors, _ = read_tensors(counts, kinds, ("vocabulary_size",))
    training, digests = {}, {}
    for n in threads:
        training[n] = fastest(train_command(settings, counts, n, folder / f"ours-{n}"), args.repeats)
        digests[n] = sha256_file(folder / f"ours-{n}.safetensors")
    pair = run_together([train_command(settings, counts, 1, folder / f"pair-{n}") for n in (1, 2)])
    return {
        "counting": {str(n): measured.numbers() for n, measured in counting.items()},
        "training": {str(n): measured.numbers() for n, measured in training.items()},
        "two_processes_wall_s": round(max(measured.wall_s for measured in pair), 3),
        "sha256_of_vectors": {str(n): digest for n, digest in digests.items()},
        "nonzeros": len(tensors["indices"]),
        "tokens_kept": len(tensors["token_ids"]),
        "objective": read_json(folder / "ours-1.json")["objective"],
    }


COUNTS = {"indptr": "int64", "indices": "int32", "values": "float32", "token_ids": "int32", "counts": "int64"}


def compare(theirs: dict[str, Any], own: dict[str, Any], threads: int, iterations: int) -> dict[str, Any]:
    """Return rates and ratios; a ratio above 1 means that ours is faster."""

    def rate(nonzeros: int, wall_s: float) -> float:
        return nonzeros * iterations / wall_s

    walls = {n: own["training"][str(n)]["wall_s"] for n in (1, 2, threads)}
    before_training = sum(theirs[step]["wall_s"] for step in ("vocab_count", "cooccur", "shuffle"))
    last = theirs["objective"][-1], own["objective"][-1]
    our_rate, their_rate = rate(own["nonzeros"], walls[threads]), rate(theirs["nonzeros"], theirs["glove"]["wall_s"])
    return {
        "stanford_nonzeros_per_s": round(their_rate),
        "our_nonzeros_per_s": round(our_rate),
        "training_ratio": round(our_rate / their_rate, 3),
        "counting_ratio": round(before_training / own["counting"][str(threads)]["wall_s"], 3),
        "counting_ratio_one_thread": round(before_training / own["counting"]["1"]["wall_s"], 3),
        "scaling_two_threads": round(walls[1] / walls[2], 3),
        "scaling_two_processes": round(2 * walls[1] / own["two_processes_wall_s"], 3),
        "same_bytes_for_any_threads": len(set(own["sha256_of_vectors"].values())) == 1,
        "same_number_of_nonzeros": theirs["nonzeros"] == own["nonzeros"],
        "final_objective_stanford": last[0],
        "final_objective_ours": last[1],
        "final_objective_relative_difference": round((last[1] - last[0]) / last[0], 5),
    }


def main(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    settings = VectorsBlock().plain()
    settings["count"] |= {"min_count": args.min_count, "memory_gb": args.memory_gb}
    settings["glove"] |= {"dimensions": args.dimensions, "iterations": args.iterations, "seed": args.seed}
    args.shards, args.tokenizer_info = [path.resolve() for path in args.shards], args.tokenizer_info.resolve()
    with tempfile.TemporaryDirectory(prefix="benchmark-glove-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        corpus = write_token_text(args.shards, folder / "corpus.txt")
        theirs = stanford(args, settings, folder / "corpus.txt", folder)
        own = ours(args, settings, folder)
    comparison = compare(theirs, own, args.threads, args.iterations)
    result = {
        "benchmark": "glove",
        "corpus": corpus,
        "settings": {"count": settings["count"], "glove": settings["glove"], "threads": args.threads},
        "stanford": theirs,
        "ours": own,
        "comparison": comparison,
    }
    for key, value in comparison.items():
        print(f"{key:40} {value}")
    if args.output:
        write_result(args.output, result, ["numpy", "numba"])


if __name__ == "__main__":
    cli.run(main, arguments())
