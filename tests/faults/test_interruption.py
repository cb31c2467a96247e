"""A training that is interrupted, however that happens, goes on by the same command and ends with the same weights, bit by bit.

The interruptions come in the second stage, whose work folder holds a complete saved state by then.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from support.copies import copy_project
from support.disks import small_disk
from support.project import Project
from support.trainer import run as train
from support.trainer import stage_command

STEPS, SAVE_STEPS = 120, 10
STAGE = "adapted/llama--new/tiny/random/short/s1/stage2"
OUTPUT, STATE = f"results/{STAGE}", f"work/{STAGE}"
RUN = (OUTPUT, "--cores", "1")
"""What is asked of snakemake: a model this small trains no faster on more cores, and much slower where they are busy."""
LOG = "logs/train_stage/llama--new/tiny/random/short/s1/stage2.log"
PATIENCE = 300  # seconds until something that must happen counts as not happening


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose second stage was trained without interruption. Its alignment needs no vectors, to save time."""
    project = Project(tmp_path_factory.mktemp("uninterrupted") / "project")
    project.config["recipes"]["short"]["block"] = 64
    project.config["recipes"]["short"]["stages"][0] |= {"batch_tokens": 256}
    project.config["recipes"]["short"]["stages"][1] |= {
        "steps": STEPS,
        "save_steps": SAVE_STEPS,
        "batch_tokens": 256,
        "heldout_steps": 40,
    }
    project.config["experiments"][0] |= {"alignment": "random", "baselines": []}
    project.write()
    project.run(str(Path(OUTPUT).with_name("stage1")))
    project.run(*RUN)
    return project.folder


@pytest.fixture
def project(uninterrupted: Path, tmp_path: Path) -> Project:
    """Return a project in which all is done but the second stage."""
    project = copy_project(uninterrupted, tmp_path / "project")
    shutil.rmtree(project.folder / OUTPUT)
    assert project.planned(OUTPUT) == {"train_stage": 1}
    return project


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    """Yield a list of processes, each the leader of a process group; what is left of the groups is ended after the test."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def saved_steps(project: Project) -> list[int]:
    """Return the steps of the complete saved states."""
    return sorted(int(path.parent.name.split("-")[1]) for path in (project.folder / STATE).glob("checkpoint-*/complete.json"))


def trainer_command(project: Project, **changes: str) -> list[str]:
    """Return the command line of the second stage as the rule would run it, with some options changed."""
    return stage_command(project, OUTPUT, **changes)


def start(project: Project, command: list[str], started: list[subprocess.Popen], log: IO[str]) -> subprocess.Popen:
    """Start a command in a process group of its own, its output in a file: no pipe, so that it can outlive its reader."""
    process = subprocess.Popen(command, cwd=project.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    started.append(process)
    return process


def start_and_wait_for_a_state(
    project: Project, command: list[str], started: list[subprocess.Popen], states: int = 1
) -> subprocess.Popen:
    """Start a command and return when the training has saved at least so many states (it keeps two)."""
    with (project.folder / "output.txt").open("w") as log:
        process = start(project, command, started, log)
    wait_for(lambda: len(saved_steps(project)) >= states or process.poll() is not None, "a saved state")
    assert process.poll() is None, output(project)
    return process


def output(project: Project) -> str:
    return (project.folder / "output.txt").read_text(encoding="utf-8")


def trainer_of(project: Project) -> int:
    """Return the id of the process that trains, from its lock file."""
    text = (project.folder / f"{STATE}.lock").read_text()
    return int(re.fullmatch(r"process (\d+) on .*\n", text)[1])


def is_running(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def losses(folder: Path) -> list[tuple[int, float]]:
    lines = (folder / OUTPUT / "metrics.jsonl").read_text().splitlines()
    return [(record["step"], record["loss"]) for record in map(json.loads, lines) if "loss" in record]


def assert_as_if_never_interrupted(project: Project, uninterrupted: Path) -> None:
    """Compare the weights bit by bit, and the loss of every step; the state is gone."""
    weights = [(folder / OUTPUT / "model.safetensors").read_bytes() for folder in (project.folder, uninterrupted)]
    assert weights[0] == weights[1]
    assert losses(project.folder) == losses(uninterrupted)
    assert [step for step, _ in losses(uninterrupted)] == list(range(1, STEPS + 1))
    assert not (project.folder / STATE).exists()


def test_the_second_stage_changes_the_weights(uninterrupted: Path):
    """Or equal weights would prove nothing."""
    folder = uninterrupted / OUTPUT
    assert (folder / "model.safetensors").read_bytes() != (folder.parent / "stage1/model.safetensors").read_bytes()


def test_killed_trainer_continues(project: Project, uninterrupted: Path, started: list[subprocess.Popen]):
    command = trainer_command(project)
    process = start_and_wait_for_a_state(project, command, started)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (project.folder / OUTPUT).exists()
    last = saved_steps(project)[-1]
    assert 0 < last < STEPS

    # A training with another learning rate does not go on from this state, and leaves it as it is.
    settings = json.loads(command[command.index("--settings") + 1]) | {"learning_rate": 0.00006}
    changed = command.copy()
    changed[changed.index("--settings") + 1] = json.dumps(settings)
    status, text = train(project, changed)
    assert status == 1
    assert f"error: {STATE}: holds the unfinished state of another training" in text
    assert "found:    settings.learning_rate: 5e-05 -> 6e-05\n" in text
    assert f"or start afresh with: rm -r {STATE}" in text
    assert not (project.folder / OUTPUT).exists()
    assert saved_steps(project)[-1] == last

    status, text = train(project, command)
    assert status == 0, text
    assert f"continued from step {last}\n" in text
    assert_as_if_never_interrupted(project, uninterrupted)


def test_damaged_state_is_not_continued(project: Project, uninterrupted: Path, started: list[subprocess.Popen]):
    """A state that was cut off while it was written: the one before it is taken."""
    command = trainer_command(project)
    process = start_and_wait_for_a_state(project, command, started, states=2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before, last = saved_steps(project)[-2:]
    for path in (project.folder / STATE).glob("checkpoint-*"):
        if int(path.name.split("-")[1]) > last:  # begun when the signal came
            shutil.rmtree(path)
    optimizer = project.folder / STATE / f"checkpoint-{last}/optimizer.pt"
    os.truncate(optimizer, optimizer.stat().st_size // 2)
    status, text = train(project, command)
    assert status == 0, text
    assert f"{STATE}/checkpoint-{last} is damaged (optimizer.pt has " in text
    assert f"continued from step {before}\n" in text
    assert_as_if_never_interrupted(project, uninterrupted)


def test_terminated_trainer_saves_its_state(project: Project, uninterrupted: Path, started: list[subprocess.Popen]):
    command = trainer_command(project)
    process = start_and_wait_for_a_state(project, command, started)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=PATIENCE) == 75
    (step,) = re.findall(rf"signal SIGTERM; step (\d+) of {STEPS} is saved in {STATE}\n", output(project))
    assert "to mend:  run the same command again" in output(project)
    assert saved_steps(project)[-1] == int(step) < STEPS

    # A job with a time limit that is too near for another step saves, too.
    status, text = train(project, trainer_command(project, minutes="0.1"))
    assert status == 75
    assert f"continued from step {step}\n" in text
    assert f"the time limit of the job is near; step {int(step) + 1} of {STEPS} is saved in {STATE}\n" in text

    status, text = train(project, command)
    assert status == 0, text
    assert f"continued from step {int(step) + 1}\n" in text
    assert_as_if_never_interrupted(project, uninterrupted)


def test_interrupted_snakemake_lets_the_trainer_save(project: Project, uninterrupted: Path, started: list[subprocess.Popen]):
    """Ctrl-C in a terminal is SIGINT to the whole process group."""
    process = start_and_wait_for_a_state(project, project.command(*RUN), started)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=PATIENCE) != 0
    wait_for(lambda: not is_running(trainer_of(project)), "the end of the trainer")
    (step,) = re.findall(rf"signal SIGINT; step (\d+) of {STEPS} is saved", (project.folder / LOG).read_text())
    assert saved_steps(project)[-1] == int(step)

    project.run(*RUN)
    assert f"continued from step {step}\n" in (project.folder / LOG).read_text()
    assert_as_if_never_interrupted(project, uninterrupted)


def test_power_cut_continues_after_unlocking(project: Project, uninterrupted: Path, started: list[subprocess.Popen]):
    process = start_and_wait_for_a_state(project, project.command(*RUN), started)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not is_running(trainer_of(project)), "the end of the trainer")
    last = saved_steps(project)[-1]

    locked = project.run(*RUN, check=False)
    assert locked.returncode != 0
    assert "Directory cannot be locked" in locked.stdout
    project.run("--unlock")
    project.run(*RUN)
    assert f"continued from step {last}\n" in (project.folder / LOG).read_text()
    assert_as_if_never_interrupted(project, uninterrupted)
    assert project.planned(OUTPUT) == {}


def test_trainer_that_outlives_snakemake(project: Project, uninterrupted: Path, started: list[subprocess.Popen]):
    """Only snakemake is killed. The next one waits for the trainer that is left, and both do not write at once."""
    process = start_and_wait_for_a_state(project, project.command(*RUN), started)
    orphan = trainer_of(project)
    os.kill(orphan, signal.SIGSTOP)  # so that it cannot end before the next one comes
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert is_running(orphan)

    project.run("--unlock")
    with (project.folder / "second.txt").open("w") as log:
        second = start(project, project.command(*RUN), started, log)
    waiting = f"another process (process {orphan} on "
    log_file = project.folder / LOG
    wait_for(lambda: log_file.exists() and waiting in log_file.read_text(), "the message that it waits")
    assert not (project.folder / OUTPUT).exists()
    os.kill(orphan, signal.SIGCONT)
    assert second.wait(timeout=PATIENCE) == 0, (project.folder / "second.txt").read_text()
    assert not is_running(orphan)
    assert "continued from" not in log_file.read_text()  # the orphan finished it
    assert_as_if_never_interrupted(project, uninterrupted)
    assert project.planned(OUTPUT) == {}


def test_full_disk_while_a_state_is_saved(project: Project, uninterrupted: Path, started: list[subprocess.Popen]):
    """The training ends with a message, the last complete state stays, and with room again it goes on from there."""
    command = trainer_command(project)
    with small_disk(project.folder / "work", "8m"):
        process = start_and_wait_for_a_state(project, command, started, states=2)
        filler = project.folder / "work/filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        process.wait(PATIENCE)
        if process.returncode == 0:
            pytest.fail("the training ended before the disk was full")
        assert process.returncode == 1
        assert "error: the disk is full" in output(project)
        kept = saved_steps(project)
        assert kept
        filler.unlink()
        status, text = train(project, command)
        assert status == 0, text
        assert f"continued from step {max(kept)}" in text
    assert_as_if_never_interrupted(project, uninterrupted)
