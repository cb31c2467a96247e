"""The workflow on a real Slurm, with the profile as it is shipped. The GPUs are fake: trainings use the CPU."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny import ROOT, Project

pytestmark = pytest.mark.slurm

QUICK = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5", "--jobs", "6")

# One shard, one alignment, one stage: how often each rule runs as a Slurm job.
EXPECTED = {
    "prepare_corpus": 1,
    "resolve_tokenizer": 1,
    "train_tokenizer": 1,
    "resolve_model": 1,
    "tokenize_shard": 4,  # two tokenizers, train and validation
    "pack_tokens": 1,
    "count_cooccurrences": 2,
    "train_vectors": 2,
    "align_vocabularies": 1,
    "report_alignment": 1,
    "initialize_model": 1,
    "train_stage": 1,
    "sample_heldout": 1,
    "evaluate_perplexity": 3,  # source, initialised, trained
    "evaluate_tokenizer": 2,
}
GPU_RULES = {"train_stage", "evaluate_perplexity"}
ADAPTED = "results/adapted/llama--new/tiny/tokalign"


@dataclass(frozen=True)
class Job:
    """A line of Slurm's accounting."""

    number: int
    rule: str
    partition: str
    allocated: dict[str, str]
    state: str
    elapsed: str


class Slurm:
    """A tiny project and the cluster that it runs on."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        """Make a project whose trainings and evaluations ask for a GPU."""
        self.environment = environment
        self.project = project = Project(folder)
        project.config["corpora"]["tiny"]["shards"] = 1
        project.config["experiments"][0]["baselines"] = []
        (stage, _) = stages = project.config["recipes"]["short"]["stages"]
        del stages[1:]
        stage["gpus"] = project.config["evaluations"]["heldout"]["gpus"] = 1
        without = project.config["recipes"]["without"] = copy.deepcopy(project.config["recipes"]["short"])
        without["stages"][0]["gpus"] = 0
        project.config["recipes"]["stopped"] = copy.deepcopy(project.config["recipes"]["short"])
        project.write()

    def snakemake(self, *arguments: str) -> str:
        """Run ``snakemake --profile slurm`` and return what it printed."""
        options = ("--profile", "slurm", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml", *QUICK)
        result = subprocess.run(
            ["snakemake", *arguments, *options],
            cwd=self.project.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert result.returncode == 0, result.stdout[-6000:]
        return result.stdout

    def jobs(self) -> list[Job]:
        """Return all jobs of the project so far, from Slurm's accounting."""
        columns = "JobIDRaw,Comment,Partition,AllocTRES,State,Elapsed,WorkDir"
        output = subprocess.run(
            ["sacct", "-X", "-n", "-P", "-S", "now-1days", "-o", columns],
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        found = []
        for line in output.splitlines():
            number, comment, partition, tres, state, elapsed, folder = line.split("|")
            if folder != str(self.project.folder):
                continue
            rule = re.fullmatch(r"rule_(.+?)(_wildcards_.*)?", comment)
            assert rule, comment
            allocated = dict(item.split("=") for item in tres.split(","))
            found.append(Job(int(number), rule[1], partition, allocated, state, elapsed))
        return found

    def log(self, job: Job) -> str:
        """Return what a job printed."""
        (path,) = (self.project.folder / "slurm-logs").rglob(f"{job.number}.log")
        return path.read_text()

    def since(self, before: list[Job]) -> list[Job]:
        """Return the jobs that came after these, in their order."""
        known = {job.number for job in before}
        return sorted((job for job in self.jobs() if job.number not in known), key=lambda job: job.number)


@pytest.fixture(scope="module")
def slurm(cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Slurm:
    """Return the project after a complete run."""
    slurm = Slurm(tmp_path_factory.mktemp("project").resolve(), cluster)
    slurm.snakemake()
    for job in slurm.jobs():
        print(f"{job.rule:20} {job.partition:5} {job.state} {job.elapsed} {job.allocated}")
    return slurm


def test_jobs_ask_for_what_their_rules_need(slurm: Slurm) -> None:
    jobs = slurm.jobs()
    assert Counter(job.rule for job in jobs) == EXPECTED  # tables and figures are made locally
    assert {job.state for job in jobs} == {"COMPLETED"}
    for job in jobs:
        gpus = {key: value for key, value in job.allocated.items() if key.startswith("gres/")}
        if job.rule in GPU_RULES:
            assert (job.partition, gpus) == ("h100", {"gres/gpu": "1", "gres/gpu:h100": "1"}), job
        else:
            assert (job.partition, gpus) == ("cpu", {}), job
    cpus = {job.rule: int(job.allocated["cpu"]) for job in jobs}
    assert (cpus["train_stage"], cpus["count_cooccurrences"], cpus["pack_tokens"]) == (8, 16, 1)


def test_results_are_there_and_nothing_is_left_to_do(slurm: Slurm) -> None:
    folder = slurm.project.folder
    assert json.loads((folder / ADAPTED / "short/s1/stage1/training.json").read_text())["labels"]["stage"] == "stage1"
    assert (folder / "results/tables/perplexity.csv").exists()
    before = slurm.jobs()
    assert "Nothing to be done" in slurm.snakemake()
    assert slurm.since(before) == []


def test_training_without_gpus_runs_where_other_jobs_run(slurm: Slurm) -> None:
    before = slurm.jobs()
    slurm.snakemake(f"{ADAPTED}/without/s1/stage1")
    (job,) = slurm.since(before)
    assert (job.rule, job.partition, job.state) == ("train_stage", "cpu", "COMPLETED")
    assert not [key for key in job.allocated if key.startswith("gres/")]


def test_training_that_reached_its_time_limit_is_continued(slurm: Slurm) -> None:
    """A limit of no minutes is near after the first step, however fast the machine is; the next attempt has ten."""
    before = slurm.jobs()
    output = f"{ADAPTED}/stopped/s1/stage1"
    slurm.snakemake(output, "--set-resources", "train_stage:runtime=0 if attempt == 1 else 10", "train_stage:gpu_model=h100")
    jobs = slurm.since(before)
    assert [(job.rule, job.partition, job.state) for job in jobs] == [
        ("train_stage", "h100", "FAILED"),
        ("train_stage", "h100", "COMPLETED"),
    ]
    first, second = (slurm.log(job) for job in jobs)
    assert "the time limit of the job is near; step 1 of 6 is saved" in first
    assert "continued from step 1" in second
    metrics = slurm.project.folder / output / "metrics.jsonl"
    assert [json.loads(line)["step"] for line in metrics.open()] == [1, 2, 3, 4, 5, 6]
    # The weights are those of the same recipe without an interruption.
    weights = [slurm.project.folder / ADAPTED / recipe / "s1/stage1/model.safetensors" for recipe in ("short", "stopped")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
