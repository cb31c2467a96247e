"""Everything that an evaluation can measure, for the tiny project: test sets, a task and the six model suites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from tokalign.config.suites import MODEL_SUITES

from support.project import Project

QUESTION = {"question": "the model", "choices": ["reads", "text", "new"]}
SEGMENTS = [{"en": f"the model reads {number}.", "de": f"das modell liest {number}."} for number in range(6)]
TASK = {
    "task": "own_words",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "words.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
TESTSETS = {
    "exam": {
        "kind": "choices",
        "files": ["exam.jsonl"],
        "fields": {"question": "question", "choices": "choices", "answer": "answer"},
    },
    "segments": {"kind": "parallel", "files": ["segments.jsonl"], "fields": {"en": "en", "de": "de"}},
}
SUITES: dict[str, Any] = {
    "alignment": {"embedder": {"folder": "model"}, "pairs": 20, "batch_tokens": 256},
    "tokenizers": {"testset": "segments"},
    "tasks": {"names": ["own_words"], "include": "tasks", "precision": "float32"},
    "choices": {"testsets": ["exam"], "batch_tokens": 256, "precision": "float32"},
    "translation": {
        "directions": [{"testset": "segments", "source": "de", "target": "en"}],
        "shots": 1,
        "max_new_tokens": 4,
        "batch_tokens": 512,
        "precision": "float32",
    },
    "generation": {"prompts": 4, "prompt_characters": 20, "max_new_tokens": 4, "batch_tokens": 256, "precision": "float32"},
    "comparison": {"resamples": 100},
    "efficiency": {
        "batch_sizes": [1],
        "prompt_bytes": 40,
        "new_bytes": 10,
        "warmup": 1,
        "repetitions": 2,
        "precision": "float32",
    },
}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def measure_everything(project: Project) -> None:
    """Add every suite and its data to the evaluation of the tiny project.

    The model folder also gets the tokenizer, since the model is also the embedder.
    """
    folder = project.folder
    questions = [QUESTION | {"answer": number % 3} for number in range(6)]
    write_lines(folder / "exam.jsonl", questions)
    write_lines(folder / "segments.jsonl", SEGMENTS)
    write_lines(folder / "tasks/words.jsonl", questions)
    (folder / "tasks/words.yaml").write_text(yaml.safe_dump(TASK))
    for file in (folder / "tokenizer").iterdir():
        (folder / "model" / file.name).write_bytes(file.read_bytes())
    project.config["testsets"] = TESTSETS
    block = project.config["evaluations"]["heldout"]
    block |= SUITES
    for suite in MODEL_SUITES:
        block[suite] = block[suite] | {"checkpoints": ["source", "adapted"]}
    project.write()
