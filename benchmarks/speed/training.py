"""Memory and time of a training step with a large vocabulary: whole or chunked loss, stage 1 or 2, published or ours."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import run, script, write_result
from tokalign.common import cli
from tokalign.common.errors import InputError

WAYS, STAGES = ("published", "plain", "chunked"), ("embeddings", "all")


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="initialized checkpoint")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="FILE", help="tokens, Arrow IPC files")
    parser.add_argument("--tokenizer-info", type=Path, required=True, metavar="FILE", help="info.json of its tokenizer")
    parser.add_argument("--block", type=int, default=512, help="tokens in a sequence")
    parser.add_argument("--sequences", type=int, default=2, help="sequences in a step")
    parser.add_argument("--steps", type=int, default=4, help="number of steps; the first is not timed")
    parser.add_argument("--precision", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file of results")
    return parser


def measure(args: argparse.Namespace, blocks: Path, way: str, stage: str) -> dict[str, Any]:
    """Run a few steps of one way."""
    words = [sys.executable, str(Path(__file__).with_name("training_step.py")), "--model", args.model, "--blocks", blocks]
    words += ["--way", way, "--stage", stage, "--steps", args.steps, "--sequences", args.sequences]
    measured = run([*words, "--precision", args.precision, "--threads", args.threads])
    line = next((line for line in reversed(measured.output.splitlines()) if line.startswith("{")), None)
    if line is None:
        raise InputError("training_step.py printed no result", found=measured.output[-500:])
    return {"way": way, "stage": stage, **json.loads(line), "peak_rss_mb": round(measured.peak_rss_mb)}


def compare(rows: list[dict[str, Any]], base: float) -> dict[str, float]:
    """Return ratios; above 1 means that the second is smaller or faster.

    Args:
        rows: results of all ways and stages.
        base: memory of the process before a model is loaded, which is subtracted. [MB]
    """
    by = {(row["way"], row["stage"]): row for row in rows}
    ratios = {}

    def ratio(name: str, first: tuple[str, str], second: tuple[str, str]) -> None:
        ratios[f"{name}: memory"] = round((by[first]["peak_rss_mb"] - base) / (by[second]["peak_rss_mb"] - base), 3)
        ratios[f"{name}: time"] = round(by[first]["step_s"] / by[second]["step_s"], 3)

    for stage in STAGES:
        ratio(f"plain / chunked, {stage}", ("plain", stage), ("chunked", stage))
        ratio(f"published / chunked, {stage}", ("published", stage), ("chunked", stage))
    for way in WAYS:
        ratio(f"all / embeddings, {way}", (way, "all"), (way, "embeddings"))
    return ratios


def main(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    with tempfile.TemporaryDirectory(prefix="benchmark-training-") as folder:
        blocks = Path(folder, "blocks.arrow")
        packing = {"block": args.block, "tokenizer_info": args.tokenizer_info, "manifest": Path(folder, "manifest.json")}
        run(script("pack_tokens", shards=args.shards, output=blocks, **packing))
        base = run([sys.executable, str(Path(__file__).with_name("training_step.py")), "--help"]).peak_rss_mb
        rows = [measure(args, blocks, way, stage) for stage, way in itertools.product(STAGES, WAYS)]
    for row in rows:
        print({key: value for key, value in row.items() if key != "losses"}, [round(loss, 4) for loss in row["losses"]])
    ratios = compare(rows, base)
    for key, value in ratios.items():
        print(f"{key:40} {value}")
    shape = {
        "block": args.block,
        "sequences": args.sequences,
        "steps": args.steps,
        "precision": args.precision,
        "threads": args.threads,
    }
    if args.output:
        result = {"benchmark": "training", "settings": shape, "start_rss_mb": round(base), "comparison": ratios, "measured": rows}
        write_result(args.output, result, ["torch", "transformers"])


if __name__ == "__main__":
    cli.run(main, arguments())
