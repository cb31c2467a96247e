"""Operations of a training step by hand, and how processes are started and find each other."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
import torch
from commands.training import train_stage
from commands.training.launch_training import command
from support.training import MODELS, VOCABULARY
from tokalign.common.errors import ConfigurationError
from tokalign.models.device import peak_memory
from tokalign.training.policies import select_parameters
from tokalign.training.processes import FIRST_PORT, PORTS, slurm_address, time_left
from tokalign.training.throughput import operations_per_token, peak_operations

# Of a Llama of width 16, inner width 24, 2 layers: four square matrices and three of 16 x 24 in each.
BODY, TABLE = 2 * (4 * 16 * 16 + 3 * 16 * 24), VOCABULARY * 16


@pytest.mark.parametrize("name", ["tied", "untied"])
def test_operations_of_a_step(name):
    """6 N of the body and the LM head where all is trained; an input row that is looked up costs nothing."""
    model = MODELS[name]()
    assert operations_per_token(select_parameters(model, "all")) == 6 * (BODY + TABLE)
    assert operations_per_token(select_parameters(model, "embeddings")) == 4 * BODY + 6 * TABLE


def test_rate_and_memory_of_this_machine():
    rate, of_what = peak_operations(torch.device("cpu"), "float32")
    assert rate > 1e8
    assert of_what == "1024 x 1024 matrices of float32, timed"
    before = peak_memory(torch.device("cpu"))
    block = torch.ones(2**26)
    assert peak_memory(torch.device("cpu")) >= max(before, block.nbytes)


def test_one_process_is_this_program_and_several_are_torchruns():
    alone = command(1, 1, 6, ["--seed", "1"], allocated=False)
    assert (alone[0], Path(alone[1]).name, alone[2:]) == (sys.executable, "train_stage.py", ["--threads", "6", "--seed", "1"])
    four = command(1, 4, 6, ["--seed", "1"], allocated=True)
    assert four[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
    assert four[-4:] == ["--threads", "1", "--seed", "1"]


def test_several_nodes_are_a_step_of_slurm():
    step = command(2, 4, 32, ["--seed", "1"], allocated=True)
    options = ["srun", "--kill-on-bad-exit=1", "--nodes=2", "--ntasks=8", "--ntasks-per-node=4", "--cpus-per-task=8"]
    assert step[:7] == [*options, sys.executable]
    with pytest.raises(ConfigurationError, match="no Slurm allocation"):
        command(2, 4, 32, [], allocated=False)


@pytest.fixture
def scontrol(tmp_path, monkeypatch) -> None:
    """A scontrol that knows the nodes localhost and a1."""
    program = tmp_path / "scontrol"
    program.write_text('#!/bin/sh\n[ "$3" = "local[1-2]" ] && printf "localhost\\na1\\n" || printf "no-such-host.invalid\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("scontrol")
def test_where_processes_of_a_step_meet():
    """On its first node, at a port of the job's own; where the node has no address, where srun was started."""
    step = {"SLURM_STEP_NODELIST": "local[1-2]", "SLURM_JOB_ID": "1000", "SLURM_STEP_ID": "0"}
    host, port = slurm_address(step)
    assert host == "localhost"
    assert FIRST_PORT <= port < FIRST_PORT + PORTS
    assert slurm_address(step | {"SLURM_JOB_ID": "1001"})[1] != port
    assert slurm_address(step | {"SLURM_STEP_ID": "1"})[1] != port
    unknown = step | {"SLURM_STEP_NODELIST": "x", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7"}
    assert slurm_address(unknown) == ("10.0.0.7", port)
    with pytest.raises(ConfigurationError, match="SLURM_STEP_NODELIST"):
        slurm_address({"SLURM_JOB_ID": "1"})


@pytest.mark.parametrize(
    ("answer", "status", "left"),
    [("9:43", 0, 583), ("1-00:00:00", 0, 86400), ("UNLIMITED", 0, None), ("", 1, None), ("?", 0, None)],
)
def test_time_that_a_job_has_left(tmp_path, monkeypatch, answer, status, left):
    """As squeue says it; a Slurm that does not answer ends no training."""
    program = tmp_path / "squeue"
    program.write_text(f'#!/bin/sh\necho "{answer}"\nexit {status}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert time_left({"SLURM_JOB_ID": "7"}) == left
    assert time_left({}) is None


def test_deadline(monkeypatch):
    """The earlier one of what the workflow says and what Slurm says; without Slurm the time before this script is guessed."""
    monkeypatch.setattr(train_stage, "time_left", lambda _: None)
    assert train_stage.deadline_of(None, 1000.0) is None
    assert train_stage.deadline_of(10, 1000.0) == 1000 + 600 - train_stage.STARTUP_SECONDS
    monkeypatch.setattr(train_stage, "time_left", lambda _: 500)
    now = time.monotonic()
    assert now + 500 <= train_stage.deadline_of(60, now) <= time.monotonic() + 500
    assert train_stage.deadline_of(1, now) == now + 60
