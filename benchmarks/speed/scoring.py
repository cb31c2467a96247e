"""Scoring text and answering questions: ours, a plain loop, and lm-evaluation-harness's model class, on the same input."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import zstandard
from common import run, write_result
from tokalign.common import cli
from tokalign.common.errors import InputError
from tokalign.text.documents import read_documents

WAYS = {"documents": ("ours", "one_by_one", "harness"), "questions": ("ours", "tasks", "one_by_one", "harness")}
TOLERANCE = 1e-4
"""Largest allowed difference between the values of the ways: float noise."""


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model with its tokenizer")
    parser.add_argument("--documents", type=Path, nargs="+", required=True, metavar="FILE", help="text files, as for a corpus")
    parser.add_argument(
        "--questions", type=Path, required=True, metavar="FILE", help="JSONL, perhaps .zst: question, choices, answer"
    )
    parser.add_argument("--bytes", type=int, default=40_000, help="bytes of text to score")
    parser.add_argument(
        "--document-bytes", type=int, default=2_500, help="longer documents are left out, so that all fit into a window"
    )
    parser.add_argument("--number", type=int, default=16, help="number of questions to answer")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way, in turn; medians are compared")
    parser.add_argument("--rows", type=int, default=256_000, help="rows of the vocabulary whose memory is compared")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file of results")
    return parser


def chosen_documents(files: list[Path], budget: int, longest: int) -> list[str]:
    """Return documents of all files in turn, up to a number of bytes."""
    texts: list[str] = []
    streams = [iter(read_documents(file, "text", Counter())) for file in files]
    size = 0
    while streams and size < budget:
        for stream in list(streams):
            text = next((each for each in stream if len(each.encode()) <= longest), None)
            if text is None:
                streams.remove(stream)
            elif size < budget:
                texts.append(text)
                size += len(text.encode())
    return texts


def measure(args: argparse.Namespace, what: str, way: str, source: Path | None) -> dict[str, Any]:
    """Run one way in a separate process."""
    words = [sys.executable, Path(__file__).with_name("scoring_way.py"), "--what", what, "--way", way, "--model", args.model]
    words += ["--threads", args.threads, "--rows", args.rows, *(["--input", source] if source else [])]
    measured = run(words, environment={"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"})
    line = next((line for line in reversed(measured.output.splitlines()) if line.startswith("{")), None)
    if line is None:
        raise InputError("scoring_way.py printed no result", found=measured.output[-500:])
    return {"what": what, "way": way, **json.loads(line)}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per way: medians of the repeats."""
    found = []
    for what, way in dict.fromkeys((row["what"], row["way"]) for row in rows):
        some = [row for row in rows if (row["what"], row["way"]) == (what, way)]
        middle = {key: statistics.median(row[key] for row in some) for key in ("seconds", "cpu_s", "value", "added_mb")}
        found.append({"what": what, "way": way, **{key: round(value, 6) for key, value in middle.items()}, "runs": len(some)})
    return found


def compare(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return ratios; above 1 means that ours is faster or smaller. Memory is what scoring adds to the loaded model.

    Args:
        rows: from :func:`summary`.

    Raises:
        InputError: the ways find different values.
    """
    by = {(row["what"], row["way"]): row for row in rows}
    ratios = {}
    for what, ours, others in (
        ("documents", "ours", WAYS["documents"][1:]), ("questions", "ours", WAYS["questions"][1:]), ("vocabulary", "bounded", ("whole",)),
    ):  # fmt: skip
        own = by[what, ours]
        for other in others:
            row = by[what, other]
            if abs(row["value"] - own["value"]) > TOLERANCE * max(1, abs(own["value"])):
                raise InputError(
                    f"{what}: {other} finds another value than {ours}", found=row["value"], expected=str(own["value"])
                )
            for key, name in (("seconds", "time"), ("cpu_s", "time of the processor"), ("added_mb", "memory")):
                ratios[f"{what}: {other} / {ours}: {name}"] = round(row[key] / own[key], 3)
    return ratios


def main(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="benchmark-scoring-") as folder:
        texts = chosen_documents(args.documents, args.bytes, args.document_bytes)
        documents, questions = Path(folder, "documents.jsonl"), Path(folder, "questions.jsonl")
        documents.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        opened = zstandard.open if args.questions.suffix == ".zst" else open
        with opened(args.questions, "rt", encoding="utf-8") as file:
            questions.write_text("".join(itertools.islice(file, args.number)), encoding="utf-8")
        rows = []
        for _ in range(args.repeats):
            for what, source in (("documents", documents), ("questions", questions)):
                rows += [measure(args, what, way, source) for way in WAYS[what]]
        rows += [measure(args, "vocabulary", way, None) for way in ("bounded", "whole")]
    measured = summary(rows)
    for row in measured:
        print(row)
    ratios = compare(measured)
    for key, value in ratios.items():
        print(f"{key:60} {value}")
    settings = {
        "documents": len(texts), "bytes": sum(len(text.encode()) for text in texts), "questions": args.number, "rows": args.rows,
        "threads": args.threads, "load_before": round(load, 2),
    }  # fmt: skip
    if args.output:
        result = {"benchmark": "scoring", "settings": settings, "comparison": ratios, "measured": measured}
        write_result(args.output, result, ["torch", "transformers", "lm_eval"])


if __name__ == "__main__":
    cli.run(main, arguments())
