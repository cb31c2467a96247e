"""Test sets and multiple choice: what is planned if an evaluation asks for them, and what makes them rerun."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.copies import copy_project
from support.project import Project

CHOICES = "results/evaluations/heldout/choices/models/llama/hf.json"
PARALLEL = "results/testsets/pairs/items.parquet"
LARGE = ("--max-checksum-file-size", "1")
"""Snakemake compares the contents of small files by itself; with this the tests' files of some bytes are large ones."""
QUESTIONS = [
    {"q": f"the model reads {i}?", "options": ["a small text", "the old world", "language"], "key": "ABC"[i % 3]}
    for i in range(6)
]


def write_questions(path: Path, questions: list[dict]) -> None:
    path.write_text("".join(json.dumps(question) + "\n" for question in questions), encoding="utf-8")


def with_testsets(folder: Path) -> Project:
    """Return a new project with a test set of questions, one of parallel text, and the multiple-choice suite."""
    project = Project(folder)
    write_questions(folder / "exam.jsonl", QUESTIONS)
    (folder / "z.en").write_text("the model\na text\n")
    (folder / "a.de").write_text("das modell\nein text\n")
    fields = {"question": "q", "choices": "options", "answer": "key"}
    project.config["testsets"] = {
        "exam": {"kind": "choices", "files": ["exam*.jsonl"], "fields": fields, "answers": "letter"},
        "pairs": {"kind": "parallel", "text_files": {"en": "z.en", "de": "a.de"}, "fields": {"en": "en", "de": "de"}},
    }
    project.config["evaluations"]["heldout"]["choices"] = {"testsets": ["exam"], "batch_tokens": 256, "precision": "float32"}
    project.write()
    return project


@pytest.fixture(scope="session")
def answered(once) -> Path:
    return once("exam", lambda folder: with_testsets(folder).run(CHOICES, PARALLEL))


@pytest.fixture
def project(answered: Path, tmp_path: Path) -> Project:
    return copy_project(answered, tmp_path / "project")


def planned(project: Project, *arguments: str) -> dict[str, int]:
    return project.planned(CHOICES, PARALLEL, *arguments)


AGAIN = {"prepare_testset": 1, "answer_choices": 1}


def test_only_where_they_are_asked_for(tmp_path: Path):
    """The source and the adapted model are measured; a test set that no suite names is not prepared."""
    project = with_testsets(tmp_path / "project")
    whole = project.planned()
    del project.config["evaluations"]["heldout"]["choices"]
    project.write()
    without = project.planned()
    assert {rule: whole[rule] - without.get(rule, 0) for rule in ("prepare_testset", "answer_choices")} == {
        "prepare_testset": 1,
        "answer_choices": 2,
    }
    assert "answer_choices" not in without


def test_results_can_be_read(project: Project):
    result = json.loads((project.folder / CHOICES).read_text())
    assert {metric["dataset"] for metric in result["metrics"]} == {"exam"}
    assert result["more"]["testsets"]["exam"]["gold"] == [2, 2, 2]
    rows = pq.read_table(project.folder / PARALLEL).to_pylist()
    assert [(row["de"], row["en"]) for row in rows] == [("das modell", "the model"), ("ein text", "a text")]
    assert planned(project) == {}


def test_an_edited_file_plans_the_test_set_and_its_answers(project: Project):
    write_questions(project.folder / "exam.jsonl", QUESTIONS[:-1])
    assert planned(project) == AGAIN


def test_another_file_of_the_pattern_plans_the_test_set_and_its_answers(project: Project):
    write_questions(project.folder / "exam-2.jsonl", QUESTIONS[:1])
    assert planned(project) == AGAIN


def test_a_touched_file_plans_nothing(project: Project):
    for name in ("exam.jsonl", "z.en", "a.de"):
        os.utime(project.folder / name)
    assert planned(project, *LARGE) == {}


def test_a_changed_segment_plans_its_test_set_alone(project: Project):
    (project.folder / "z.en").write_text("the model\nthe text\n")
    assert planned(project) == {"prepare_testset": 1}


def test_exchanged_languages_plan_the_test_set(project: Project):
    """The files are the same, but their languages are swapped."""
    project.config["testsets"]["pairs"]["text_files"] = {"en": "a.de", "de": "z.en"}
    project.write()
    assert planned(project) == {"prepare_testset": 1}


def another_order_of_keys(config: dict) -> None:
    for name, block in config["testsets"].items():
        config["testsets"][name] = {
            key: dict(reversed(value.items())) if isinstance(value, dict) else value for key, value in reversed(block.items())
        }


def written_out_defaults(config: dict) -> None:
    config["testsets"]["exam"] |= {"language": "en", "limit": None}
    config["evaluations"]["heldout"]["choices"] |= {"separator": " ", "document_start": "eos"}


def stages_too(config: dict) -> None:
    config["evaluations"]["heldout"]["choices"]["checkpoints"] = ["source", "stages", "adapted"]


def other_prompt(config: dict) -> None:
    config["evaluations"]["heldout"]["choices"]["prompt"] = "{question}"


def fewer_questions(config: dict) -> None:
    config["testsets"]["exam"]["limit"] = 3


SETTINGS = {
    another_order_of_keys: {},
    written_out_defaults: {},
    stages_too: {},
    other_prompt: {"answer_choices": 1},
    fewer_questions: AGAIN,
}


@pytest.mark.parametrize("change", SETTINGS, ids=lambda change: change.__name__)
def test_a_changed_setting_plans_what_depends_on_it(project: Project, change):
    change(project.config)
    project.write()
    assert planned(project) == SETTINGS[change]


def test_a_test_set_of_the_hub_is_fetched(project: Project):
    """Fetching depends on where the items are, preparing on what they are."""
    block = project.config["testsets"]["exam"]
    block |= {"hub": "owner/exam", "revision": "c0ffee"}
    del block["files"]
    project.write()
    assert planned(project) == {"fetch_testset": 1, **AGAIN}
    assert project.planned("fetched") == {"fetch_testset": 1, "fetched": 1}


def test_a_wrong_answer_ends_with_its_line(project: Project):
    write_questions(project.folder / "exam.jsonl", [*QUESTIONS, {**QUESTIONS[0], "key": "D"}])
    result = project.run(CHOICES, check=False)
    assert result.returncode
    assert "exam.jsonl line 7: the answer in field 'key' is none of the 3 choices" in result.stdout
