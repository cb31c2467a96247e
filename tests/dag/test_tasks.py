"""Tasks of lm-evaluation-harness: checked before anything is computed, and rerun only if their inputs change."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from support.copies import copy_project
from support.project import Project
from support.suites import TASK

RESULT = "results/evaluations/heldout/tasks/models/llama/hf.json"
AGAIN = {"resolve_tasks": 1, "answer_tasks": 1}


def write_tasks(folder: Path, **changes) -> None:
    """Write a task and its data."""
    folder.mkdir(exist_ok=True)
    (folder / "words.yaml").write_text(yaml.safe_dump(TASK | changes))
    rows = [{"question": "the model", "choices": ["reads", "text", "new"], "answer": number % 3} for number in range(6)]
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def answered(once) -> Path:
    """Make a project in which the source model has answered one of the user's own tasks."""

    def answer(folder: Path) -> None:
        project = Project(folder)
        block = {"names": ["own_words"], "include": "tasks", "precision": "float32", "checkpoints": ["source"]}
        project.config["evaluations"]["heldout"]["tasks"] = block
        project.write()
        write_tasks(folder / "tasks")
        project.run(RESULT)

    return once("answered", answer)


@pytest.fixture
def project(answered: Path, tmp_path: Path) -> Project:
    return copy_project(answered, tmp_path / "project")


def change(project: Project, **changes) -> dict[str, int]:
    """Return what a dry run plans after changes to the suite's settings."""
    project.config["evaluations"]["heldout"]["tasks"] |= changes
    project.write()
    return project.planned(RESULT)


def test_editing_a_task_runs_only_what_reads_it(project: Project):
    for path in (project.folder / "tasks").iterdir():
        os.utime(path)
    assert project.planned(RESULT) == {}
    write_tasks(project.folder / "tasks", doc_to_text="Q: {{question}}")
    assert project.planned(RESULT) == AGAIN
    write_tasks(project.folder / "tasks")
    assert project.planned(RESULT) == {}
    with (project.folder / "tasks/words.jsonl").open("a") as file:
        file.write(json.dumps({"question": "a", "choices": ["b", "c"], "answer": 0}) + "\n")
    assert project.planned(RESULT) == AGAIN


def test_editing_data_elsewhere_runs_what_reads_them(project: Project):
    elsewhere = project.folder / "elsewhere.jsonl"
    elsewhere.write_bytes((project.folder / "tasks/words.jsonl").read_bytes())
    write_tasks(project.folder / "tasks", dataset_kwargs={"data_files": {"test": "../elsewhere.jsonl"}})
    project.run(RESULT)
    assert project.planned(RESULT) == {}
    with elsewhere.open("a") as file:
        file.write(json.dumps({"question": "a", "choices": ["b", "c"], "answer": 0}) + "\n")
    assert project.planned(RESULT) == AGAIN


def test_settings_that_names_do_not_depend_on(project: Project):
    assert change(project, batch_size=16) == {}  # the default
    project.config["evaluations"]["heldout"]["perplexity"]["stride"] = 16
    assert change(project, batch_size=3) == {"answer_tasks": 1}
    assert change(project, batch_size=16, shots=1) == AGAIN


def test_data_of_the_harness_are_fetched_once(project: Project):
    assert change(project, names=["own_words", "arc_easy"]) == AGAIN | {"fetch_tasks": 1}
    (project.folder / "results/fetched/tasks/heldout/datasets").mkdir(parents=True)
    assert project.planned(RESULT) == AGAIN
    write_tasks(project.folder / "tasks", doc_to_text="Q: {{question}}")
    assert project.planned(RESULT) == AGAIN


def test_name_that_is_none_stops_before_anything_is_computed(project: Project):
    project.config["evaluations"]["heldout"]["tasks"]["names"] = ["belebele_spa_latn"]
    project.write()
    shown = project.run("results/evaluations/heldout/tasks.json", check=False)
    assert shown.returncode != 0
    assert "did you mean belebele_spa_Latn?" in shown.stdout
