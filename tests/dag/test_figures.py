"""Figures: which ones are planned, and that each is redrawn only if its table changes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from support.copies import OwnCode
from support.project import Project
from tokalign.report.figures.sources import SOURCES

DRAWN = ("compression", "bits_per_byte", "loss", "progress", "alignment", "tokenizer_efficiency", "perplexity", "languages")
"""Of the tiny project, whose evaluation has perplexity and tokenizers."""


def planned(project: Project) -> list[str]:
    """Return the figures that a dry run would draw."""
    return sorted(set(re.findall(r"^ +wildcards: figure=(\w+)$", project.run("-n").stdout, re.MULTILINE)))


def test_figures_of_the_suites_that_there_are(tmp_path: Path):
    project = Project(tmp_path / "project")
    assert planned(project) == sorted(DRAWN)
    project.config["evaluations"]["heldout"]["efficiency"] = {}
    project.write()
    assert planned(project) == sorted([*DRAWN, "efficiency", "quality_speed", "summary_radar"])


def test_all_formats_are_there(project: Project):
    found = {path.name for path in (project.folder / "results/figures").iterdir()}
    assert found == {f"{name}.{kind}" for name in DRAWN for kind in ("svg", "png", "pdf")}


@pytest.mark.parametrize("table", ["training", "comparison", "alignments"])
def test_another_table_redraws_its_figures_alone(project: Project, table: str):
    path = project.folder / f"results/tables/{table}.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    os.utime(path)
    assert planned(project) == sorted(name for name in DRAWN if SOURCES[name].table == table)


def test_a_missing_format_draws_one_figure(project: Project):
    (project.folder / "results/figures/loss.pdf").unlink()
    assert planned(project) == ["loss"]
    assert project.planned() == {"draw_figure": 1}


def test_a_raised_version_draws_all_figures(project: Project, tmp_path: Path):
    edited = OwnCode(project, tmp_path / "code")
    versions = edited.code / "workflow/scripts/tokalign/common/versions.py"
    text, count = re.subn(
        r'"figures": (\d+)', lambda found: f'"figures": {int(found[1]) + 1}', versions.read_text(encoding="utf-8")
    )
    assert count == 1
    versions.write_text(text, encoding="utf-8")
    assert edited.planned() == {"draw_figure": len(DRAWN)}
