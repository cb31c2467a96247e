"""Rows fitted to the model: what makes the fit rerun, and what a fit makes rerun."""

from __future__ import annotations

import json

import pytest
from support.jobs import ALIGNED_MODEL, SHOWN
from support.project import Project
from tokalign.initialization.fitted_rows import read_fitted

INITIALIZED = "results/initialized/llama--new/tiny/tokalign"
FITTED = {"fit_rows": 1, "initialize_model": 1}
FIT = {"layers": 1, "calibration_tokens": 500, "precision": "float32"}


def test_a_fit_plans_itself_and_the_models_of_its_alignment(project: Project):
    """It plans no vectors, no alignment and nothing of the baseline; an empty block and its removal are also changes."""
    project.config["alignments"]["tokalign"]["fit"] = {}
    project.write()
    assert project.planned() == {"fit_rows": 1, **ALIGNED_MODEL, **SHOWN}
    project.config["alignments"]["tokalign"]["fit"] = None
    project.write()
    assert project.planned() == {}


@pytest.fixture
def fitted(project: Project) -> Project:
    """Add an alignment with a fit to the project, initialized but not trained."""
    project.config["alignments"]["tokalign"]["fit"] = dict(FIT)
    project.write()
    project.run(INITIALIZED)
    return project


def test_what_makes_a_fit_run_again(fitted: Project):
    """Settings of the fit and of the rows under it do; execution settings and other alignments do not."""
    block = fitted.config["alignments"]["tokalign"]
    rows = read_fitted(fitted.folder / "results/fitted/llama--new/tiny/tokalign/rows.safetensors")
    assert rows.metadata["calibration_tokens"] >= 500
    assert rows.bias.any()
    record = json.loads((fitted.folder / INITIALIZED / "initialization.json").read_text())
    assert record["fitted"] == {"rows": len(rows.ids), **rows.metadata}

    def planned(**changes) -> dict[str, int]:
        fitted.config["alignments"]["tokalign"] = block | changes
        fitted.write()
        return fitted.planned(INITIALIZED)

    assert planned() == {}
    assert planned(fit={**FIT, "gpus": 1}) == {}
    assert planned(fit={"ridge": 100, "seed": 1, **FIT}) == {}  # these are the defaults
    for key, value in {"layers": 0, "calibration_rounds": 5}.items():
        assert planned(fit={**FIT, key: value}) == FITTED, key
    assert planned(initialization={"norm_matching": "mean"}) == FITTED
    assert planned(relative={"pivots": 21}) == {"align_vocabularies": 1, **FITTED}
    assert planned(fit=None) == {"initialize_model": 1}
    fitted.config["alignments"]["random"]["fit"] = dict(FIT)
    assert planned() == {}
    assert fitted.planned(INITIALIZED.replace("tokalign", "random")) == FITTED
