"""Every configuration of the workflow can be planned, with the single-machine profile and with the Slurm profile."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import pytest
import yaml
from support import snakemake_calls
from support.project import ROOT

CONFIGURATIONS = [ROOT / "config/config.yaml", *sorted((ROOT / "config/presets").glob("*.yaml"))]


def snakemake(folder: Path, *arguments: str) -> str:
    """Run snakemake with the repository's Snakefile in an empty folder; return its output."""
    (folder / "resources").symlink_to(ROOT / "resources")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), *arguments]
    result = snakemake_calls.run(command, folder)
    assert result.returncode == 0, result.stdout
    return result.stdout


def expected_trainings(config: dict) -> int:
    """Count the distinct stages of all experiments, which are one job each."""
    jobs = set()
    for experiment in config["experiments"]:
        keys = ("model", "tokenizer", "corpus", "alignment", "recipe")
        axes = [[experiment[key]] if isinstance(experiment[key], str) else experiment[key] for key in keys]
        for combination in itertools.product(*axes, experiment.get("seeds", [1])):
            stages = config["recipes"][combination[4]]["stages"]
            jobs |= {(*combination, stage["name"]) for stage in stages}
    return len(jobs)


def test_there_are_presets():
    assert len(CONFIGURATIONS) > 1


@pytest.mark.parametrize("profile", ["profiles/local", "profiles/slurm"])
@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_configuration_can_be_planned(path: Path, profile: str, tmp_path: Path):
    arguments = ["--configfile", str(path), "--profile", str(ROOT / profile)]
    output = snakemake(tmp_path, "-n", "--quiet", "host", *arguments)
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", output.split("Job stats:")[1], re.MULTILINE)}
    assert jobs["train_stage"] == expected_trainings(yaml.safe_load(path.read_text(encoding="utf-8"))) > 0
    assert jobs["make_tables"] == 1 and jobs["draw_figure"] >= 8
    assert not list(tmp_path.glob("results"))


def test_lint(tmp_path: Path):
    assert "in a good condition" in snakemake(tmp_path, "--lint", "--configfile", str(ROOT / "config/config.yaml"))
