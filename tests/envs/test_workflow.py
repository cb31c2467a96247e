"""The whole workflow by ``--sdm conda``: each rule has what its environment file names, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from support import conda
from support.environments import FILES
from support.project import Project
from support.suites import measure_everything
from tokalign.config.suites import MODEL_SUITES

pytestmark = pytest.mark.slow


class CondaProject(Project):
    """A project whose jobs run in environments of a stand-in for conda."""

    def __init__(self, folder: Path, programs: Path):
        """Write the inputs and the configuration; ``programs`` is the folder of the stand-in's programs."""
        super().__init__(folder)
        self.programs = programs

    def run_in_environments(self, *arguments: str) -> str:
        """Run the workflow as a user of conda does, and return its output."""
        environment = os.environ | {"PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": ""}
        result = subprocess.run(
            self.command("--sdm", "conda", *arguments),
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert result.returncode == 0, result.stdout[-6000:]
        return result.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> CondaProject:
    """Make a project with rows fitted to the model, LoRA, vectors of both programs and every suite."""
    folder = tmp_path_factory.mktemp("envs")
    made = CondaProject(folder / "project", conda.install(folder / "conda"))
    config = made.config
    config["alignments"]["tokalign"]["fit"] = {"layers": 1, "calibration_tokens": 500, "precision": "float32"}
    config["vectors"]["fasttext"] = {"method": "fasttext", "fasttext": {"dimensions": 16, "epochs": 1, "min_count": 1}}
    config["alignments"]["random"] = {**config["alignments"]["tokalign"], "fit": None, "vectors": "fasttext"}
    config["recipes"]["short"]["stages"][1]["train"] = "lora"
    measure_everything(made)
    return made


def test_the_workflow_runs_in_the_environments_of_its_rules(project: CondaProject):
    shown = project.run_in_environments()
    finished = set(re.findall(r"^(?:local)?rule (\w+):$", shown, re.MULTILINE))
    assert {"fit_rows", "train_stage", "train_fasttext_vectors", "evaluate_alignment", "draw_figure"} <= finished
    for suite in MODEL_SUITES:
        assert list((project.folder / f"results/evaluations/heldout/{suite}/adapted").rglob("*.json")), suite
    used = {path.read_text() for path in (project.folder / ".snakemake/conda").glob("*.yaml")}
    assert used == {path.read_text() for path in FILES.values()}
