"""A recipe of three stages on two nodes, with all that a cluster does to it: it ends as if nothing had happened.

Two processes on two nodes, through gloo. What happens: the time limit, twice; `scancel`; preemption by a job of a higher QOS;
SIGKILL of a trainer; SIGKILL of snakemake; a node that fails. The reference is trained by two processes without snakemake and Slurm.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.cluster import QUICK, Slurm
from support.project import ROOT
from support.trainer import run, stage_command

pytestmark = pytest.mark.slurm

SCRIPT = Path(__file__).with_name("slurm-local.sh")
PATIENCE = 600
STEPS = 400
STAGES = ("warm-up", "embeddings", "whole")
PLACE = "adapted/llama--new/tiny/random/three/s1"


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


class Adaptation(Slurm):
    """The project, and what can be done to its running trainings."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        """Make a recipe of three stages on two nodes."""
        super().__init__(folder, environment)
        stage = {
            "batch_tokens": 128, "steps": STEPS, "device_sequences": 2, "gpus": 0, "nodes": 2, "precision": "float32",
            "gradient_checkpointing": False, "save_steps": 20, "log_steps": 10, "heldout_steps": 200, "heldout_bytes": 2000,
        }  # fmt: skip
        self.project.config["recipes"]["three"] = {
            "block": 32,
            "stages": [
                {"name": "warm-up", "train": "new_rows", "learning_rate": 0.001, **stage},
                {"name": "embeddings", "train": "embeddings", "learning_rate": 0.001, **stage},
                {"name": "whole", "train": "all", "learning_rate": 0.0005, **stage, "zero": 2},
            ],
        }
        spread = {"name": "spread", "train": "embeddings", "learning_rate": 0.001, **stage, "steps": 2, "processes": 2}
        self.project.config["recipes"]["spread"] = {"block": 32, "stages": [spread]}
        self.project.config["alignments"]["random"]["methods"] = ["special", "exact", "random"]
        self.project.config["experiments"][0] |= {"alignment": "random", "baselines": [], "recipe": "three"}
        self.project.write()
        self.driver: subprocess.Popen | None = None

    def start(self, stage: str, *more: str) -> None:
        """Start snakemake for a stage; its output goes to a file."""
        options = (
            f"results/{PLACE}/{stage}", "--retries", "6", "--profile", "slurm", "--snakefile", str(ROOT / "Snakefile"),
            "--configfile", "config.yaml", *QUICK,
        )  # fmt: skip
        with (self.project.folder / "driver.log").open("a") as log:
            self.driver = subprocess.Popen(
                ["snakemake", *options, *more], cwd=self.project.folder, env=self.environment, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return (self.project.folder / "driver.log").read_text()

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        def met() -> bool:
            if condition():
                return True
            assert self.driver.poll() is None, self.said()[-6000:]
            return False

        wait_for(met, what)

    def saved(self, stage: str) -> int:
        """Return the step of the newest complete state of a stage; 0 if there is none."""
        found = (self.project.folder / f"work/{PLACE}/{stage}").glob("checkpoint-*/complete.json")
        return max((int(path.parent.name.split("-")[1]) for path in found), default=0)

    def finished(self, stage: str) -> bool:
        return (self.project.folder / f"results/{PLACE}/{stage}/training.json").exists()

    def running(self) -> list[str]:
        """Return the numbers of the trainings that Slurm runs now."""
        lines = self.slurm("squeue", "-h", "-t", "RUNNING", "-o", "%A %k %Z").splitlines()
        return [line.split()[0] for line in lines if "rule_train_stage" in line and line.endswith(str(self.project.folder))]

    def nodes(self, job: str) -> list[str]:
        """Return the nodes that a job runs on, the first one first; none while it does not run."""
        names = self.slurm("squeue", "-h", "-t", "RUNNING", "-j", job, "-o", "%N").strip()
        return self.slurm("scontrol", "show", "hostnames", names).split() if names else []

    def continued_from(self, job: str) -> int:
        """Return the step that the last start of a job went on from, as its log says; -1 if it does not yet."""
        logs = [path.read_text() for path in (self.project.folder / "slurm-logs").rglob(f"{job}.log")]
        return max(
            (int(re.findall(r"continued from step (\d+)", text)[-1]) for text in logs if "continued from step" in text),
            default=-1,
        )

    @contextlib.contextmanager
    def without(self, node: str) -> Iterator[None]:
        """Take a node away for a time, with all that runs on it."""
        folder = Path(self.environment["SLURM_CONF"]).parents[1]
        self.slurm(str(SCRIPT), "lose", str(folder), node)
        try:
            yield
        finally:
            self.slurm(str(SCRIPT), "mend", str(folder), node)

    def slurm(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, text=True, stdout=subprocess.PIPE, check=True).stdout

    def trainers(self) -> list[int]:
        """Return the processes that train, of this project."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                here = os.readlink(folder / "cwd") == str(self.project.folder)
            except OSError:
                continue
            if here and len(words) > 1 and words[1].endswith(b"train_stage.py"):
                found.append(int(folder.name))
        return found


@pytest.fixture(scope="module")
def adaptation(cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Adaptation:
    """Return the project with all done but its trainings, and with the same trainings done by two processes here."""
    adaptation = Adaptation(tmp_path_factory.mktemp("adaptation").resolve(), cluster)
    project = adaptation.project
    project.run(
        "results/initialized/llama--new/tiny/random", "results/packed/tiny/new/32/blocks.arrow",
        "results/tokens/tiny/new/validation.arrow", "results/alignments/tiny/own--new/random/tokens.parquet",
        "results/models/llama/info.json", "--cores", "2",
    )  # fmt: skip
    start = "results/initialized/llama--new/tiny/random"
    for stage in STAGES:
        command = stage_command(
            project, f"results/{PLACE}/{stage}", launcher={"nodes": 1, "processes": 2, "threads": 2},
            model=start, output=f"reference/{stage}", state=f"reference/work/{stage}",
        )  # fmt: skip
        status, output = run(project, command)
        assert status == 0, output
        start = f"reference/{stage}"
    return adaptation


def test_everything_that_a_cluster_does(adaptation: Adaptation):
    here, events = adaptation, []
    # Time limit: none is left after the first step, in two attempts. The others have ten minutes.
    here.start("warm-up", "--set-resources", "train_stage:runtime=0 if attempt < 3 else 10")
    here.wait_for(lambda: here.saved("warm-up") >= 40, "the third attempt of the first stage")
    logs = [path.read_text() for path in (here.project.folder / "slurm-logs").rglob("*.log")]
    limits = [int(step) for text in logs for step in re.findall(r"the time limit of the job is near; step (\d+) of", text)]
    assert len(limits) == 2
    events.append(f"time limit behind steps {sorted(limits)} of warm-up")
    assert any("(2 processes x 2 x 1 accumulated)" in text for text in logs)
    nodes = here.slurm("squeue", "-h", "-t", "RUNNING", "-o", "%D %k")
    assert re.search(r"^2 rule_train_stage", nodes, re.MULTILINE), nodes

    wait_for(lambda: here.driver.poll() is not None, "the end of the first stage")
    assert here.driver.returncode == 0, here.said()[-6000:]

    # scancel, while the second stage runs.
    here.start("whole")
    here.wait_for(lambda: here.saved("embeddings") >= 20 and here.running(), "the second stage")
    (canceled,) = here.running()
    here.slurm("scancel", canceled)
    events.append(f"scancel of job {canceled} behind step {here.saved('embeddings')} of embeddings")
    here.wait_for(lambda: here.running() and here.running() != [canceled], "another job after scancel")

    # A job of a higher QOS takes both nodes; Slurm puts the training back into the queue.
    before = here.saved("embeddings")
    here.wait_for(lambda: here.saved("embeddings") >= before + 20 and here.running(), "progress after scancel")
    (preempted,) = here.running()
    high = here.slurm(
        "sbatch", "--parsable", "--qos=high", "--partition=cpu", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1"
    ).strip()  # fmt: skip
    here.wait_for(lambda: "COMPLETED" in here.slurm("sacct", "-n", "-X", "-j", high, "-o", "State"), "the job of the higher QOS")
    events.append(f"job {preempted} preempted by job {high}")
    here.wait_for(lambda: here.running() == [preempted], "the preempted job")

    # One of its two nodes fails. Slurm puts the training back into the queue, and it goes on with the third node.
    before = here.saved("embeddings")
    here.wait_for(lambda: here.saved("embeddings") >= before + 20 and here.nodes(preempted), "progress after preemption")
    first, lost = here.nodes(preempted)
    before = here.saved("embeddings")
    with here.without(lost):
        here.wait_for(lambda: (now := here.running()) and here.nodes(now[0]), "the training on other nodes")
        (moved,) = here.running()
        assert lost not in here.nodes(moved)
        events.append(
            f"{lost} fails behind step {before} of embeddings; job {preempted} on {first} and {lost}, then {moved} on {here.nodes(moved)}"
        )
        here.wait_for(lambda: here.continued_from(moved) >= before, "a start from the state that was saved before")

    # SIGKILL of one of the two trainers of the last stage, then of snakemake.
    here.wait_for(lambda: here.finished("embeddings") and here.saved("whole") >= 20 and here.running(), "the last stage")
    (job,) = here.running()
    killed = here.trainers()
    assert len(killed) == 2
    os.kill(killed[1], signal.SIGKILL)
    events.append(f"SIGKILL of a trainer of job {job} behind step {here.saved('whole')} of whole")
    before = here.saved("whole")
    here.wait_for(lambda: here.running() and here.running() != [job], "another job after SIGKILL of a trainer")
    here.wait_for(lambda: here.saved("whole") >= before + 20, "progress after SIGKILL of a trainer")
    (orphan,) = here.running()
    os.killpg(here.driver.pid, signal.SIGKILL)
    here.driver.wait()
    events.append(f"SIGKILL of snakemake behind step {here.saved('whole')} of whole")

    # The way back that docs/resume.md describes: cancel what still runs, unlock, the same command.
    here.slurm("scancel", orphan)
    wait_for(lambda: not here.running(), "the end of the orphan")
    here.snakemake("--unlock", f"results/{PLACE}/whole")
    here.start("whole")
    wait_for(lambda: here.driver.poll() is not None, "the end")
    assert here.driver.returncode == 0, here.said()[-6000:]
    print("\n".join(events))
    for job in here.jobs():
        if job.rule == "train_stage":
            print(f"{job.number} {job.state} {job.elapsed}")
    states = [job.state.split()[0] for job in here.jobs() if job.rule == "train_stage"]
    assert states.count("COMPLETED") == 3
    assert {"FAILED", "CANCELLED"} <= set(states)


def test_it_ends_as_if_nothing_had_happened(adaptation: Adaptation):
    """Metrics and weights of all stages are those of the reference, which nothing interrupted."""
    folder = adaptation.project.folder
    for stage in STAGES:
        found, expected = folder / f"results/{PLACE}/{stage}", folder / f"reference/{stage}"
        rows, wanted = ([json.loads(line) for line in (path / "metrics.jsonl").open()] for path in (found, expected))
        assert [row["step"] for row in rows] == [0, *range(10, STEPS + 1, 10)]
        for key in ("loss", "learning_rate", "heldout_bits_per_byte"):
            assert [row[key] for row in rows if key in row] == pytest.approx([row[key] for row in wanted if key in row], rel=1e-4)
        own, other = (load_file(path / "model.safetensors") for path in (found, expected))
        same = [key for key in other if torch.equal(own[key], other[key])]
        print(f"{stage}: {len(same)} of {len(other)} tensors have the same bits")
        for key, value in other.items():
            torch.testing.assert_close(own[key], value, rtol=1e-3, atol=1e-4)


def test_nodes_have_as_many_processes_each(adaptation: Adaptation):
    """Slurm would put three of four tasks that fit there on the first node."""
    adaptation.snakemake("results/adapted/llama--new/tiny/random/spread/s1/spread")
    (log,) = (adaptation.project.folder / "logs/train_stage").rglob("spread.log")
    nodes = re.findall(r"process \d of 4 on (\S+) waits for the others", log.read_text())
    assert sorted(Counter(nodes).values()) == [2, 2], nodes
