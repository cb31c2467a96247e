"""What jobs request: from the profile, else from sizes in earlier results, else a fixed value."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.copies import OwnCode
from support.project import ROOT, Project
from tokalign.cluster.slurm import JobRequest
from tokalign.preflight import estimates
from tokalign.preflight.dry_run import parse_dry_run
from tokalign.preflight.estimates import ModelSize, Stage

# A model of 1.2e9 parameters, as an earlier rule describes it, and two tokenizers.
INFO = {"parameters": 1_200_000_000, "embedding_rows": 50_000, "hidden_size": 2048, "tied": False}
SIZE = ModelSize.of(INFO)


def asked(project: Project, *arguments: str) -> dict[str, JobRequest]:
    """Return what the last job of each rule requests in a dry run.

    This uses the Slurm profile, as the single-machine profile requests no more than the machine has.
    """
    plan = parse_dry_run(project.run("-n", "--forceall", "--cores", "16", *arguments, profile="profiles/slurm").stdout)
    return {request.rule: request for request in (*plan.single, *(job for _, jobs in plan.groups for job in jobs))}


def state(project: Project, path: str, content: dict) -> None:
    file = project.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_resources_before_anything_is_known_and_afterwards(fresh: Project):
    fresh.config["corpora"]["tiny"]["byte_budget"] = 4_000_000_000
    fresh.write()
    before = asked(fresh)
    assert (before["initialize_model"].mem_mb, before["initialize_model"].minutes) == (8000, 60)
    assert (before["evaluate_perplexity"].mem_mb, before["evaluate_perplexity"].minutes) == (32000, 240)
    # The bytes of the corpus are known from the configuration: 1e9 tokens.
    assert before["count_cooccurrences"].minutes == estimates.asked_minutes(estimates.counting_hours(10**9, 16))
    assert before["count_cooccurrences"].mem_mb == 10_000  # a quarter more than 4 GB and what is outside of them

    state(fresh, "results/models/llama/info.json", INFO)
    state(fresh, "results/tokenizers/own/info.json", {"size": 50_000})
    state(fresh, "results/tokenizers/new/info.json", {"size": 150_000})
    after = asked(fresh)
    assert after["initialize_model"].mem_mb == estimates.asked_memory_mb(estimates.initialization_memory_mb(SIZE, 150_000))
    assert after["initialize_model"].minutes == estimates.asked_minutes(estimates.initialization_hours(SIZE, 150_000))
    assert after["align_vocabularies"].mem_mb == estimates.asked_memory_mb(estimates.alignment_memory_mb(50_000, 150_000, 300))
    scored = estimates.asked_memory_mb(estimates.evaluation_memory_mb(SIZE.with_rows(150_000)))
    assert after["evaluate_perplexity"].mem_mb == scored > before["evaluate_perplexity"].mem_mb / 2


def test_the_profile_has_the_last_word_and_changes_no_result(project: Project):
    stated = (
        "--set-resources",
        "initialize_model:mem_mb=3000",
        "initialize_model:runtime=7",
        "--set-threads",
        "tokenize_shard=2",
    )
    assert project.planned(*stated) == {}
    jobs = asked(project, *stated)
    assert (jobs["initialize_model"].mem_mb, jobs["initialize_model"].minutes) == (3000, 7)
    assert jobs["tokenize_shard"].threads == 2


PROBE = """
from types import SimpleNamespace
job = SimpleNamespace(model="llama", tokenizer="new", recipe="short", stage="stage2")
print("asked", [memory(64000, jobs.stage_mb)(job, attempt) for attempt in (1, 2)], jobs.stage_minutes(job, 8))

rule probe:
    threads: 3
    shell: "echo threads $RAYON_NUM_THREADS $NUMBA_NUM_THREADS $OMP_NUM_THREADS"

rule broken:
    shell: "false | cat"
"""


def test_training_and_threads_of_libraries(fresh: Project, tmp_path: Path):
    own = OwnCode(fresh, tmp_path / "code")
    snakefile = tmp_path / "code/Snakefile"
    snakefile.write_text(snakefile.read_text() + PROBE)
    output = own.run("probe", "--cores", "4").stdout
    assert "asked [64000, 128000] 1440" in output
    assert "threads 3 3 3" in output
    assert own.run("broken", check=False).returncode != 0  # a command that fails before `| tee`

    state(fresh, "results/models/llama/info.json", INFO)
    stage = Stage.of(fresh.config["recipes"]["short"]["stages"][1] | {"gradient_checkpointing": True}, 32)
    memory = estimates.asked_memory_mb(estimates.training_memory_mb(SIZE.with_rows(400), stage))
    minutes = estimates.asked_minutes(estimates.training_hours(SIZE.with_rows(400), stage, None))
    assert f"asked [{memory}, {2 * memory}] {minutes}" in own.run("probe", "-n").stdout

    fresh.config["recipes"]["short"]["stages"][1]["steps"] = 10**7
    fresh.write()
    assert "] 1440" in own.run("probe", "-n").stdout  # the rest in the next job


def test_no_script_asks_the_node_for_its_cores():
    for path in sorted((ROOT / "workflow/scripts").rglob("*.py")):
        assert not re.search(r"cpu_count|sched_getaffinity|process_cpu_count", path.read_text(encoding="utf-8")), path
