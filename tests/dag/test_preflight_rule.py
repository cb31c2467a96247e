"""``snakemake preflight`` on a fresh checkout: it depends on nothing, makes nothing, and fails if a run would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import ROOT, Project
from tokalign.preflight.dry_run import parse_dry_run

SLURM = ("sinfo", "squeue", "sacct", "sacctmgr", "sbatch", "scancel", "scontrol")
LOCAL = (
    "all", "fetch_wheel", "fetch_hub", "fetch_dataset", "fetch_testset", "fetch_tasks", "resolve_tasks", "make_tables", "write_summary",
    "draw_figure",
)  # fmt: skip


def preflight(project: Project, *arguments: str, profile: str = "profiles/local") -> subprocess.CompletedProcess[str]:
    """Run preflight offline, with no Slurm programs on the path."""
    programs = project.folder.parent / "programs"
    if not programs.exists():
        programs.mkdir()
        for program in Path("/usr/bin").iterdir():
            if program.name not in SLURM:
                (programs / program.name).symlink_to(program)
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PATH": f"{Path(sys.executable).parent}:{programs}", "PYTHONPATH": ""}
    command = [*project.command("preflight", profile=profile), *arguments]
    return subprocess.run(
        command, cwd=project.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_fresh_checkout(fresh: Project):
    result = preflight(fresh)
    assert result.returncode == 0, result.stdout
    assert not (fresh.folder / "results").exists() and not (fresh.folder / "work").exists()
    for line in ("ok  configuration", "sources on the network", "nothing left to fetch", "not used by this profile"):
        assert line in result.stdout
    # Two stages of six steps of 4 x 32 tokens on the CPU, and the jobs of the whole run.
    assert result.stdout.count("llama -> new, seed 1") == 2 and "CPU x 1" in result.stdout
    assert "In all about 0 GPU hours" in result.stdout
    planned = sum(fresh.planned().values()) + 1
    assert f"\n{planned} jobs.\n" in result.stdout and "preflight: no check fails" in result.stdout
    assert (fresh.folder / "logs/preflight.log").read_text() in result.stdout


def test_checks_that_fail(fresh: Project):
    """Too much memory and a misspelled rule fail; without a network, sources that need one are named."""
    fresh.config["models"]["hub"] = {"source": {"hub": "EleutherAI/pythia-1b", "revision": "main"}, "tokenizer": "own"}
    fresh.config["experiments"][0]["model"] = ["llama", "hub"]
    fresh.write()
    result = preflight(
        fresh, "--set-resources", "train_stage:mem_mb=1000000000", "trian_stage:runtime=10", "--set-threads", "fit_row=2"
    )
    assert result.returncode != 0
    assert "FAILS  rule trian_stage of the profile" in result.stdout and "write train_stage" in result.stdout
    assert "FAILS  rule fit_row of the profile" in result.stdout
    assert "FAILS  memory of this machine" in result.stdout and "1000000000 MB to train" in result.stdout
    assert "skipped: no network (HF_HUB_OFFLINE)" in result.stdout and "Rough: model hub: size from its name" in result.stdout
    assert "hub -> new" in result.stdout and "checks fail" in result.stdout


def test_testsets_and_tasks_from_the_network_are_planned(fresh: Project):
    """Test sets of the hub are sources like others; only the harness knows what tasks need."""
    fields = {"question": "q", "choices": "c", "answer": "a"}
    testset = {"kind": "choices", "hub": "owner/questions", "revision": "abc", "fields": fields}
    fresh.config["testsets"] = {"questions": testset}
    fresh.config["evaluations"]["heldout"] |= {"choices": {"testsets": ["questions"]}, "tasks": {"names": ["arc_easy"]}}
    fresh.write()
    result = preflight(fresh)
    assert "skipped: no network (HF_HUB_OFFLINE)" in result.stdout, result.stdout
    for rule in ("fetch_testset", "fetch_tasks", "resolve_tasks"):
        assert rule in result.stdout


def test_slurm_profile_without_slurm(fresh: Project):
    result = preflight(fresh, "--slurm-init-seconds-before-status-checks", "1", profile="profiles/slurm")
    assert result.returncode != 0 and "Slurm is not on this machine" in result.stdout


@pytest.mark.parametrize("preset", sorted((ROOT / "config/presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_grouping_of_the_presets(preset: Path, tmp_path: Path):
    """Slurm gets tens of jobs, not more."""
    project = Project(tmp_path, inputs=False)
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    (tmp_path / "config.yaml").write_text(preset.read_text(encoding="utf-8"))
    plan = parse_dry_run(project.run("-n", "--quiet", "host", profile="profiles/slurm").stdout)
    grouped = sum(len(requests) for _, requests in plan.groups)
    alone = len([request for request in plan.single if request.rule not in LOCAL])
    assert alone + grouped > 90
    assert len(plan.submitted(LOCAL)) == alone + len(plan.groups) < 40
