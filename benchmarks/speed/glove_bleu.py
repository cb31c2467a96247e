"""Compare alignments from our GloVe vectors and from Stanford's: BLEU of held-out text rewritten by each.

For a target and a source tokenizer, both programs train vectors on the same shards with the same settings, and the same methods
align the vocabularies from each pair of vectors. Both programs train from several seeds, because the seed alone changes BLEU-1 by
half a point: means are compared, and the standard error of their difference (pooled variance) shows how reliable it is. All
scores are at the corpus level; 1 point is 0.01.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from common import run, script, write_result
from glove import count_command, stanford, train_command
from tokalign.common import cli
from tokalign.common.files import read_json, write_json
from tokalign.config.alignments import AlignmentSettings
from tokalign.config.vectors import VectorsBlock
from tokalign.vectors.token_text import write_token_text

METHODS = {
    "relative": ["special", "exact", "relative", "decomposed", "random"],
    "tokalign-paper": ["special", "tokalign_paper", "random"],
}
"""Alignments by name: their lists of methods."""
SIDES = ("target", "source")
OURS_ALONE = ("block", "early_stop")
"""Training settings that Stanford's program does not have."""
ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1"}


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--glove", type=Path, required=True, metavar="DIR", help="checkout of Stanford's GloVe, built")
    for side in SIDES:
        parser.add_argument(
            f"--{side}-shards", type=Path, nargs="+", required=True, metavar="FILE", help="tokens, Arrow IPC files"
        )
        parser.add_argument(
            f"--{side}-tokenizer",
            type=Path,
            required=True,
            metavar="DIR",
            help="folder with hf/, vocabulary.parquet and info.json",
        )
    parser.add_argument("--validation", type=Path, required=True, metavar="FILE", help="validation.parquet of the corpus")
    parser.add_argument("--bytes-per-group", type=int, default=100_000, metavar="N", help="held-out text per language and domain")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--dimensions", type=int, default=300)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--pivots", type=int, default=300)
    parser.add_argument("--memory-gb", type=float, default=4.0, help="memory for counting and shuffling")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="ours train from the seeds 1 ... N")
    parser.add_argument("--stanford-seeds", type=int, default=2, metavar="N", help="Stanford's train from the seeds 1 ... N")
    parser.add_argument("--stanford", type=Path, metavar="DIR", help="folder that keeps Stanford's vectors; reused if present")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="folder for intermediate files")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file of results")
    return parser


def shards_of(args: argparse.Namespace, side: str) -> list[Path]:
    """Return the shards of a side."""
    return getattr(args, f"{side}_shards")


def with_seed(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return a block of vectors with the training seed set."""
    return {**settings, "glove": {**settings["glove"], "seed": seed}}


def train_stanford(args: argparse.Namespace, settings: dict[str, Any], side: str, seed: int, kept: Path, folder: Path) -> float:
    """Train Stanford's vectors of a side unless they exist; return the objective of the last iteration.

    The text of the vectors is kept, and imported to ``folder``.
    """
    text, record = kept / f"{side}-{seed}.txt", kept / f"{side}-{seed}.json"
    glove = {key: value for key, value in with_seed(settings, seed)["glove"].items() if key not in OURS_ALONE}
    shards = [path.name for path in shards_of(args, side)]
    wanted = {"settings": {"count": settings["count"], "glove": glove}, "shards": shards}
    found = read_json(record) if record.exists() and text.exists() else {}
    if {key: found.get(key) for key in wanted} != wanted:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            write_token_text(shards_of(args, side), Path(scratch, "corpus.txt"))
            options = argparse.Namespace(**{**vars(args), "seed": seed, "repeats": 1})
            found = wanted | stanford(options, settings, Path(scratch, "corpus.txt"), Path(scratch), binary=False)
            text.write_bytes(Path(scratch, "stanford.txt").read_bytes())
        write_json(record, found)
    imported = {
        "text": text,
        "tokenizer_info": getattr(args, f"{side}_tokenizer") / "info.json",
        "shards": shards_of(args, side),
        "threads": args.threads,
        "vectors": folder / f"stanford-{seed}-{side}.safetensors",
        "objective": folder / f"stanford-{seed}-{side}.json",
    }
    command = script("convert_vectors", **imported)
    run([*command[:2], "import", *command[2:]])
    return found["objective"][-1]


def train_ours(args: argparse.Namespace, settings: dict[str, Any], side: str, folder: Path) -> list[float]:
    """Count and train our vectors of a side from each seed; return the final objectives."""
    counts = folder / f"{side}-counts.safetensors"
    paths = {"shards": shards_of(args, side), "tokenizer_info": getattr(args, f"{side}_tokenizer") / "info.json"}
    run(count_command(argparse.Namespace(memory_gb=args.memory_gb, **paths), settings, args.threads, counts))
    objectives = []
    for seed in range(1, args.seeds + 1):
        name = f"ours-{seed}-{side}"
        run(train_command(with_seed(settings, seed), counts, args.threads, folder / name))
        objectives.append(read_json(folder / f"{name}.json")["objective"][-1])
    return objectives


def score(args: argparse.Namespace, name: str, vectors: str, documents: Path, folder: Path) -> dict[tuple[str, int], float]:
    """Align from given vectors and score; return BLEU by tokens (``all``, ``not_shared``) and order."""
    block = AlignmentSettings(methods=METHODS[name]).plain()
    for method in ("relative", "tokalign_paper"):
        block[method] |= {"pivots": args.pivots}
    table, tokenizers = folder / f"{name}-{vectors}.parquet", {}
    for side in SIDES:
        tokenizer = getattr(args, f"{side}_tokenizer")
        tokenizers |= {f"{side}_tokenizer": tokenizer / "hf", f"{side}_vocabulary": tokenizer / "vocabulary.parquet"}
    run(
        script(
            "align_vocabularies",
            **tokenizers,
            **{f"{side}_vectors": folder / f"{vectors}-{side}.safetensors" for side in SIDES},
            settings=block,
            threads=args.threads,
            matrix=table.with_suffix(".safetensors"),
            table=table,
        ),
        environment=ONE_BLAS_THREAD,
    )
    result = table.with_suffix(".json")
    run(script("evaluate_alignment", **tokenizers, tokens=table, documents=documents, settings={}, output=result))
    found = {(row["tokens"], row["metric"]): row["value"] for row in read_json(result)["metrics"] if row["level"] == "corpus"}
    return {(tokens, order): found[tokens, f"bleu_{order}"] for tokens in ("all", "not_shared") for order in (1, 2, 3, 4)}


def compare(scores: dict[str, dict[str, list[dict[tuple[str, int], float]]]]) -> list[dict[str, Any]]:
    """Return means, their difference and its standard error for each alignment, choice of tokens and order.

    Args:
        scores: from ``score``, by alignment and program (``stanford``, ``ours``), one for each seed.
    """
    rows = []
    for name, by_program in scores.items():
        for tokens, order in by_program["ours"][0]:
            runs = {program: [100 * each[tokens, order] for each in by_program[program]] for program in ("stanford", "ours")}
            theirs, own = (statistics.fmean(runs[program]) for program in ("stanford", "ours"))
            rows.append(
                {
                    "alignment": name,
                    "tokens": tokens,
                    "order": order,
                    "stanford": round(theirs, 3),
                    "ours": round(own, 3),
                    "difference": round(own - theirs, 3),
                    "standard_error": standard_error(*runs.values()),
                    **{f"runs_{program}": [round(value, 2) for value in values] for program, values in runs.items()},
                }
            )
    return rows


def standard_error(first: list[float], second: list[float]) -> float | None:
    """Return the standard error of a difference of means (pooled variance); ``None`` for single runs."""
    freedom = len(first) + len(second) - 2
    if freedom == 0:
        return None
    squares = sum((value - statistics.fmean(values)) ** 2 for values in (first, second) for value in values)
    return round(math.sqrt(squares / freedom * (1 / len(first) + 1 / len(second))), 3)


def main(args: argparse.Namespace) -> None:
    """Train, align, score, print and write."""
    settings = VectorsBlock().plain()
    settings["count"] |= {"min_count": args.min_count, "memory_gb": args.memory_gb}
    settings["glove"] |= {"dimensions": args.dimensions, "iterations": args.iterations}
    seeds = {"stanford": range(1, args.stanford_seeds + 1), "ours": range(1, args.seeds + 1)}
    with tempfile.TemporaryDirectory(prefix="benchmark-bleu-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        kept = args.stanford or folder / "kept"
        kept.mkdir(parents=True, exist_ok=True)
        objectives = {}
        for side in SIDES:
            theirs = [train_stanford(args, settings, side, seed, kept, folder) for seed in seeds["stanford"]]
            objectives[side] = {"stanford": theirs, "ours": train_ours(args, settings, side, folder)}
        documents = folder / "documents.parquet"
        sample = {"bytes_per_group": args.bytes_per_group, "max_document_bytes": args.bytes_per_group}
        run(script("sample_heldout", validation=args.validation, settings=sample, output=documents))
        scores = {
            name: {
                program: [score(args, name, f"{program}-{seed}", documents, folder) for seed in numbers]
                for program, numbers in seeds.items()
            }
            for name in METHODS
        }
    rows = compare(scores)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    print(f"final_objective {objectives}")
    if args.output:
        glove = {key: value for key, value in settings["glove"].items() if key != "seed"}
        result = {
            "benchmark": "glove_bleu",
            "settings": {
                "count": settings["count"],
                "glove": glove,
                "pivots": args.pivots,
                "bytes_per_group": args.bytes_per_group,
            },
            "final_objective": objectives,
            "measured": rows,
        }
        write_result(args.output, result, ["numpy", "numba", "tokenizers"])


if __name__ == "__main__":
    cli.run(main, arguments())
