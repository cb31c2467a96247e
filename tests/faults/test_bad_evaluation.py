"""A suite that cannot run ends in one message, leaves nothing half-written, and does not take the other suites along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.project import Project

SOURCE = "models/llama/hf"
FOLDER = Path("results/evaluations/heldout")
QUESTIONS = [{"question": f"the {i}", "choices": ["model", "token world"], "answer": i % 2} for i in range(6)]
SEGMENTS = [{"id": f"s{i}", "en": f"the model {i}", "de": f"das modell {i}"} for i in range(4)]


def lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Choices and translation of small test sets, by the source model alone."""
    project = Project(tmp_path / "project")
    lines(project.folder / "data/questions.jsonl", QUESTIONS)
    lines(project.folder / "data/segments.jsonl", SEGMENTS)
    project.config["testsets"] = {
        "questions": {
            "kind": "choices", "files": ["data/questions.jsonl"],
            "fields": {"question": "question", "choices": "choices", "answer": "answer"},
        },
        "segments": {"kind": "parallel", "files": ["data/segments.jsonl"], "fields": {"en": "en", "de": "de"}},
    }  # fmt: skip
    project.config["evaluations"]["heldout"] |= {
        "choices": {"testsets": ["questions"]},
        "translation": {"directions": [{"testset": "segments", "source": "de", "target": "en"}], "max_new_tokens": 4},
    }
    project.write()
    return project


def results(*suites: str) -> list[str]:
    return [str(FOLDER / suite / f"{SOURCE}.json") for suite in suites]


def test_an_empty_reference_stops_its_suite_alone(project: Project):
    lines(project.folder / "data/segments.jsonl", [*SEGMENTS, {"id": "s4", "en": " ", "de": "leer"}])
    ran = project.run(*results("choices", "translation"), "--keep-going", check=False)
    assert ran.returncode != 0
    assert "segments.jsonl" in ran.stdout
    assert "line 5" in ran.stdout
    assert "to mend:" in ran.stdout
    assert [(project.folder / path).is_file() for path in results("choices", "translation")] == [True, False]
    assert not list((project.folder / "results").rglob("*.partial-*"))
    lines(project.folder / "data/segments.jsonl", SEGMENTS)
    assert set(project.planned(*results("choices", "translation"))) == {"prepare_testset", "translate_segments"}


def test_a_task_that_does_not_exist_is_named_with_the_nearest_before_anything_is_computed(project: Project):
    project.config["evaluations"]["heldout"]["tasks"] = {"names": ["arc_eazy"]}
    project.write()
    ran = project.run(*results("tasks"), check=False)
    assert ran.returncode != 0
    assert "arc_eazy" in ran.stdout
    assert "arc_easy" in ran.stdout
    assert not (project.folder / "results/models").exists()  # not even the model was resolved


def test_a_testset_that_does_not_exist_is_refused_by_the_dry_run(project: Project):
    project.config["testsets"]["questions"]["files"] = ["data/question.jsonl"]
    project.write()
    ran = project.run("-n", check=False)
    assert ran.returncode != 0
    assert "testsets.questions.files: no such file" in ran.stdout
    assert "did you mean data/questions.jsonl?" in ran.stdout


def test_nan_logits_name_the_model_and_leave_no_result(project: Project):
    weights = project.folder / "model/model.safetensors"
    tensors = load_file(weights)
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], float("nan"))
    save_file(tensors, weights, metadata={"format": "pt"})
    ran = project.run(*results("choices", "translation", "perplexity"), "--keep-going", check=False)
    assert ran.returncode != 0
    for suite in ("choices", "translation", "perplexity"):
        assert not list((project.folder / FOLDER / suite).rglob("*.json")), suite
    assert ran.stdout.count("error: ") >= 3
    assert "Traceback" not in ran.stdout


def test_a_tokenizer_that_does_not_fit_its_model_is_refused(project: Project):
    config = json.loads((project.folder / "model/config.json").read_text())
    weights = project.folder / "model/model.safetensors"
    tensors = load_file(weights)
    rows = len(json.loads((project.folder / "tokenizer/tokenizer.json").read_text())["model"]["vocab"]) - 8
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in tensors:
            tensors[name] = tensors[name][:rows].clone()
    save_file(tensors, weights, metadata={"format": "pt"})
    (project.folder / "model/config.json").write_text(json.dumps({**config, "vocab_size": rows}))
    ran = project.run(*results("choices"), check=False)
    assert ran.returncode != 0
    assert f"{rows} " in ran.stdout
    assert "embedding rows" in ran.stdout
    assert "Traceback" not in ran.stdout
