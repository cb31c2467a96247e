"""Training by two processes: the schedule of one, ZeRO's results within rounding, and going on after an interruption.

Tolerances: sums of gradients are made in another order, so losses of six steps agree to 1e-5 and weights to 1e-4.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from support.project import ROOT, Project
from support.trainer import run, stage_command
from tokalign.training.saved_states import mark_complete
from transformers import AutoModelForCausalLM

STAGE = "results/adapted/llama--new/tiny/random/short/s1/stage1"
PATIENCE = 300


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project in which all is done but the training."""
    project = Project(tmp_path_factory.mktemp("several") / "project")
    project.config["experiments"][0] |= {"alignment": "random", "baselines": []}
    project.config["recipes"]["short"]["stages"][0] |= {"train": "all", "batch_tokens": 256, "gradient_checkpointing": False}
    project.write()
    project.run(STAGE, "--cores", "2")
    return project


def train(
    project: Project, name: str, processes: int, zero: int = 0, *, again: bool = False, **execution: object
) -> tuple[int, str]:
    """Train the stage into a folder of its own."""
    command = stage_command(
        project, STAGE, launcher={"processes": processes, "threads": processes}, execution={"zero": zero, **execution},
        output=f"out/{name}", state=f"state/{name}",
    )  # fmt: skip
    assert again or not (project.folder / f"state/{name}").exists()
    return run(project, command)


def metrics(project: Project, folder: str) -> list[dict]:
    return [json.loads(line) for line in (project.folder / folder / "metrics.jsonl").read_text().splitlines()]


def assert_close(project: Project, name: str) -> None:
    """Compare a training with that of one process: losses, held-out text, learning rates, weights; the checkpoint loads."""
    reference, found = metrics(project, STAGE), metrics(project, f"out/{name}")
    assert [row["step"] for row in found] == [row["step"] for row in reference] == list(range(7))
    for key in ("loss", "learning_rate", "heldout_bits_per_byte", "tokens"):
        expected = [row[key] for row in reference if key in row]
        assert [row[key] for row in found if key in row] == pytest.approx(expected, rel=1e-5), key
    model = AutoModelForCausalLM.from_pretrained(project.folder / f"out/{name}")
    assert model.generation_config.eos_token_id is not None
    other = AutoModelForCausalLM.from_pretrained(project.folder / STAGE)
    start = AutoModelForCausalLM.from_pretrained(project.folder / "results/initialized/llama--new/tiny/random")
    for key, weight in other.named_parameters():
        torch.testing.assert_close(model.get_parameter(key), weight, rtol=1e-3, atol=1e-4)
        assert not torch.equal(start.get_parameter(key), weight) or key.endswith("bias")


@pytest.mark.parametrize(("processes", "zero"), [(2, 3)])
def test_same_training(project: Project, processes: int, zero: int):
    name = f"{processes}-{zero}"
    status, output = train(project, name, processes, zero)
    assert status == 0, output
    assert f"({processes} processes x 2 x {4 // processes} accumulated)" in output
    assert output.count("step 6 of 6") == 1  # one process writes
    assert_close(project, name)
    assert not (project.folder / f"state/{name}").exists()


def test_same_sequences_in_the_same_steps(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What both processes read in a step is what one process reads, and each sequence once."""
    order = {}
    for processes in (1, 2):
        monkeypatch.setenv("RECORD", str(tmp_path / f"record-{processes}"))
        command = stage_command(
            project, STAGE, launcher={"processes": processes, "threads": processes}, output=f"out/r{processes}", state=f"state/r{processes}"
        )  # fmt: skip
        split = command.index("--")
        options = [*command[split + 1 :], "--threads", "1"]
        recorder = [str(ROOT / "tests/support/recorder.py"), *options]
        launch = (
            [command[0], "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if processes == 2 else [command[0]]
        )
        status, output = run(project, [*launch, *recorder])
        assert status == 0, output
        reads = [
            [tuple(map(int, line.split())) for line in path.read_text().splitlines()] for path in sorted(tmp_path.glob(f"record-{processes}.*"))
        ]  # fmt: skip
        assert len(reads) == processes
        assert len({len(own) for own in reads}) == 1
        per_step = 8 // processes
        order[processes] = [sorted(x for own in reads for x in own[k * per_step : (k + 1) * per_step]) for k in range(6)]
    assert order[1] == order[2]
    assert [index for step in order[1] for index, _ in step] == list(range(48))


@pytest.mark.parametrize("zero", [0, 2, 3])
def test_terminated_and_continued(project: Project, zero: int):
    """SIGTERM to one of two processes lets both stop behind the same step; the same command goes on from there."""
    name = f"stopped-{zero}"
    (project.folder / f"state/{name}").mkdir(parents=True)
    command = stage_command(
        project, STAGE, launcher={"processes": 2, "threads": 2}, execution={"zero": zero, "save_steps": 100},
        output=f"out/{name}", state=f"state/{name}",
    )  # fmt: skip
    process = subprocess.Popen(command, cwd=project.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log = project.folder / f"state/{name}/metrics.jsonl"
    lock = project.folder / f"state/{name}.lock"
    end = time.monotonic() + PATIENCE
    while not (log.exists() and '"step": 1' in log.read_text()):
        assert time.monotonic() < end and process.poll() is None, process.communicate()[0]
        time.sleep(0.002)
    os.kill(int(lock.read_text().split()[1]), signal.SIGTERM)
    output = process.communicate(timeout=PATIENCE)[0]
    if process.returncode == 0:
        pytest.fail(f"ended before the signal came:\n{output}")
    assert "stopped, to be continued: signal SIGTERM" in output
    stopped_at = int(output.split("; step ")[1].split(" of 6")[0])
    assert stopped_at < 6
    status, output = train(project, name, 2, zero, again=True, save_steps=100)
    assert status == 0, output
    assert f"continued from step {stopped_at}" in output
    assert_close(project, name)


def test_state_of_zero_is_not_continued_by_other_processes(project: Project):
    """ZeRO's parts belong to a number of processes; the message says what to set back. Without ZeRO any number may go on."""
    state = project.folder / "state/other"
    for zero, saved, refused in ((2, 2, True), (0, 2, False)):
        folder = state / "checkpoint-3"
        folder.mkdir(parents=True, exist_ok=True)
        mark_complete(folder, 3, {"zero": zero, "processes": saved})
        status, output = train(project, "other", 1, zero, again=True)
        assert ("saved by another layout of processes" in output) == refused, output
        assert status != 0  # the state is empty: nothing to go on from
