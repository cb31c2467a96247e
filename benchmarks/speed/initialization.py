"""Time and memory of initializing a checkpoint, beside a plain copy of the model's files.

The alignment is made first (special, exact, decomposed, random) and not measured. Both the initialization and the copy end with
their bytes on disk. The start of the command (imports) is measured separately, as `--help`, and subtracted. Peak memory is
compared with the size of one embedding matrix of the source model; it includes the pages of that matrix that are mapped from its
file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import run, script, write_result
from tokalign.common import cli
from tokalign.config.alignments import InitializeSettings
from tokalign.models.checkpoint import empty_model, find_embeddings, headers
from tokalign.models.safetensors_file import weight_files

METHODS = ["special", "exact", "decomposed", "random"]


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model with its own tokenizer, safetensors")
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="DIR", help="new tokenizer")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each; the fastest counts")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="folder for intermediate files")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file of results")
    return parser


def prepare(model: Path, tokenizer: Path, folder: Path) -> dict[str, Any]:
    """Resolve both tokenizers and align them; return the options of the initialization."""
    for name, source in (("source", model), ("target", tokenizer)):
        settings = {"source": {"folder": str(source)}, "special_tokens": {}, "trust_remote_code": False}
        places = {
            "hf": folder / name / "hf",
            "vocabulary": folder / name / "vocabulary.parquet",
            "info": folder / name / "info.json",
        }
        run(script("resolve_tokenizer", settings=settings, **places))
    options: dict[str, Any] = {"matrix": folder / "alignment.safetensors", "table": folder / "tokens.parquet"}
    for name in ("source", "target"):
        options |= {f"{name}_tokenizer": folder / name / "hf", f"{name}_vocabulary": folder / name / "vocabulary.parquet"}
    run(script("align_vocabularies", settings={"methods": METHODS}, threads=1, **options))
    return {
        "model": model,
        "alignment": options["matrix"],
        "tokenizer": folder / "target/hf",
        "tokenizer_info": folder / "target/info.json",
        "settings": InitializeSettings().plain(),
    }


def copy(model: Path, out: Path) -> float:
    """Copy a model's weights and sync them to disk; return the seconds."""
    out.mkdir()
    start = time.perf_counter()
    for name in weight_files(model):
        shutil.copyfile(model / name, out / name)
        with (out / name).open("rb") as file:
            os.fsync(file.fileno())
    return time.perf_counter() - start


def main(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    model, tokenizer = args.model.resolve(), args.tokenizer.resolve()
    stored = headers(model)
    matrix = find_embeddings(model, empty_model(model, folder=model), stored).input.tensor
    with tempfile.TemporaryDirectory(prefix="benchmark-initialization-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        options = prepare(model, tokenizer, folder)
        rows = []
        for number in range(args.runs):
            out, copied = folder / f"out{number}", folder / f"copy{number}"
            start = run([*script("initialize_model"), "--help"])
            measured = run(script("initialize_model", **options, output=out))
            rows.append(
                {
                    "initialization": measured.numbers(),
                    "start": start.numbers(),
                    "copy_s": round(copy(model, copied), 3),
                    "bytes": sum((out / name).stat().st_size for name in weight_files(out)),
                }
            )
            shutil.rmtree(out)
            shutil.rmtree(copied)
            print(rows[-1], flush=True)
    seconds = min(row["initialization"]["wall_s"] - row["start"]["wall_s"] for row in rows)
    copy_s = min(row["copy_s"] for row in rows)
    peak = max(row["initialization"]["peak_rss_mb"] for row in rows)
    program = min(row["start"]["peak_rss_mb"] for row in rows)
    summary = {
        "model_mb": round(sum((model / name).stat().st_size for name in weight_files(model)) / 1e6, 1),
        "embedding_mb": round(matrix.length / 1e6, 1),
        "embedding_shape": list(matrix.shape),
        "written_mb": round(rows[0]["bytes"] / 1e6, 1),
        "seconds_without_start": round(seconds, 3),
        "copy_s": copy_s,
        "time_ratio_to_copy": round(seconds / copy_s, 2),
        "peak_rss_mb": peak,
        "peak_rss_without_start_mb": round(peak - program, 1),
        "peak_without_start_per_embedding": round((peak - program) / (matrix.length / 1e6), 2),
    }
    for key, value in summary.items():
        print(f"{key:36} {value}")
    if args.output:
        settings = {"methods": METHODS, "runs": args.runs, "model": model.name, "tokenizer": tokenizer.name}
        result = {"benchmark": "initialization", "settings": settings, "measured": rows, "summary": summary}
        write_result(args.output, result, ["numpy", "safetensors", "scipy", "torch", "transformers"])


if __name__ == "__main__":
    cli.run(main, arguments())
