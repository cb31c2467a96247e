"""The workflow on a real Slurm, with the profile as it is shipped. The GPUs are fake: trainings use the CPU."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from collections import Counter

import pytest
from support.cluster import Slurm
from support.project import ROOT

pytestmark = pytest.mark.slurm


# One shard, one alignment, one stage: how often each rule, or group with its rules, runs as a Slurm job.
EXPECTED = {
    "prepare_corpus": 1,
    "resolve_resolve_model_resolve_tokenizer": 1,
    "train_tokenizer": 1,
    "tokens_tokenize_shard": 1,  # of two tokenizers, train and validation
    "text_evaluate_tokenizer_pack_tokens_sample_heldout": 1,  # two tokenizers are evaluated
    "count_cooccurrences": 2,
    "train_glove_vectors": 2,
    "alignments_align_vocabularies_report_alignment": 1,
    "initialize_initialize_model": 1,
    "train_stage": 1,
    "evaluate_perplexity": 3,  # source, initialized, trained
    "compare_models": 1,
}
UNGROUPED = 25
"""Jobs that these would be each for itself."""
GPU_RULES = {"train_stage", "evaluate_perplexity"}
ADAPTED = "results/adapted/llama--new/tiny/tokalign"


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
    assert len(jobs) == 16 < UNGROUPED
    assert {job.state for job in jobs} == {"COMPLETED"}
    for job in jobs:
        gpus = {key: value for key, value in job.allocated.items() if key.startswith("gres/")}
        if job.rule in GPU_RULES:
            assert (job.partition, gpus) == ("h100", {"gres/gpu": "1", "gres/gpu:h100": "1"}), job
        else:
            assert (job.partition, gpus) == ("cpu", {}), job
    cpus = {job.rule: int(job.allocated["cpu"]) for job in jobs}
    assert (cpus["train_stage"], cpus["count_cooccurrences"]) == (8, 16)
    # What runs at the same time adds up: four tokenizations on 4 threads, and four jobs on one.
    assert cpus["tokens_tokenize_shard"] == 16
    assert cpus["text_evaluate_tokenizer_pack_tokens_sample_heldout"] == 4


def test_every_job_of_a_group_wrote_its_own_log(slurm: Slurm) -> None:
    logs = slurm.project.folder / "logs"
    assert len(list(logs.glob("tokenize_shard/tiny/*/*.log"))) == 4
    assert all(list(logs.glob(f"{rule}/**/*.log")) for rule in ("pack_tokens", "sample_heldout", "report_alignment"))


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
    assert [json.loads(line)["step"] for line in metrics.open()] == list(range(7))  # held-out text is measured before the first
    # The weights are those of the same recipe without an interruption.
    weights = [slurm.project.folder / ADAPTED / recipe / "s1/stage1/model.safetensors" for recipe in ("short", "stopped")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_site_with_gres(slurm: Slurm) -> None:
    """The profile of a site that gives out GPUs by ``--gres``: the same node and the same GPU."""
    before = slurm.jobs()
    slurm.snakemake(f"{ADAPTED}/gres/s1/stage1", profile=str(ROOT / "profiles/slurm-gres"))
    (job,) = slurm.since(before)
    gpus = {key: value for key, value in job.allocated.items() if key.startswith("gres/")}
    assert (job.rule, job.partition, job.state) == ("train_stage", "h100", "COMPLETED")
    assert gpus == {"gres/gpu": "1", "gres/gpu:h100": "1"}


def test_orphans_of_a_killed_snakemake_are_canceled(slurm: Slurm) -> None:
    """While a snakemake is alive its jobs are left alone; after SIGKILL they are found, canceled and waited for."""
    folder = slurm.project.folder
    orphans = [sys.executable, str(ROOT / "workflow/scripts/commands/cluster/cancel_orphans.py")]
    run = functools.partial(
        subprocess.run, cwd=folder, env=slurm.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    target = f"{ADAPTED}/endless/s1/stage1"
    with (folder / "driver.log").open("w") as log:
        driver = subprocess.Popen(slurm.command(target), cwd=folder, env=slurm.environment, stdout=log, stderr=log)
    try:
        state, deadline = folder / target.replace("results", "work", 1), time.monotonic() + 90
        while not list(state.glob("checkpoint-*")):  # it trains, and there is a state to go on from
            assert driver.poll() is None, (folder / "driver.log").read_text()
            assert time.monotonic() < deadline, "the training has saved nothing in 90 s"
            time.sleep(0.5)
        refused = run([*orphans, "--cancel"])
        assert refused.returncode == 1 and f"process {driver.pid}" in refused.stdout, refused.stdout
    finally:
        driver.kill()
        driver.wait()

    listed = run(orphans)
    assert listed.returncode == 0 and "RUNNING" in listed.stdout and "train_stage" in listed.stdout, listed.stdout
    assert "Directory cannot be locked" in run(slurm.command(target)).stdout
    canceled = run([*orphans, "--cancel"])
    assert canceled.returncode == 0 and "all jobs have ended" in canceled.stdout, canceled.stdout
    assert "No jobs" in run(orphans).stdout
    slurm.snakemake("--unlock")
    assert "train_stage" in slurm.snakemake(target, "--dry-run")
    assert list(state.glob("checkpoint-*"))
