"""What a dry run plans, and whether the nodes that sinfo lists have room for it."""

from __future__ import annotations

import pytest
from tokalign.cluster.slurm import JobRequest, Nodes, gpus_of, minutes_of, parse_sinfo, seconds_of
from tokalign.common.errors import InputError
from tokalign.preflight.dry_run import parse_dry_run, together, without_room

# As snakemake 9.27 prints it, shortened.
DRY_RUN = """Building DAG of jobs...
Job stats:
job               count
--------------  -------
fetch_hub             1
total                 6


[Sun Nov 22 06:14:26 2026]
rule fetch_hub:
    output: results/fetched/hub/model/m
    resources: tmpdir=/tmp, mem_mb=4000, mem=4 GB, mem_mib=3815, disk_mb=<TBD>, slurm_account=research, runtime=60
[Sun Nov 22 06:14:26 2026] Group job tokens (jobs in lexicogr. order):

    [Sun Nov 22 06:14:26 2026]
    rule tokenize_shard:
        input: results/corpora/mix/text
        threads: 4
        resources: tmpdir=/tmp, mem_mb=8000, mem=8 GB, runtime=240
    [Sun Nov 22 06:14:26 2026]
    rule tokenize_shard:
        threads: 4
        resources: tmpdir=/tmp, mem_mb=9000, mem=9 GB, runtime=120
    rule pack_tokens:
        resources: mem_mb=4000, runtime=30
[Sun Nov 22 06:14:26 2026]
rule train_stage:
    output: results/adapted/x
    threads: 8
    resources: tmpdir=<TBD>, mem_mb=64000, mem=64 GB, runtime=1440, gpu=6, nodes=3, gpu_model=h100
[Sun Nov 22 06:14:26 2026]
localrule all:
    input: results/tables/x.csv
    resources: mem_mb=<TBD>, runtime=60
Job stats:
job               count
total                 6
"""


def test_jobs_of_a_dry_run():
    plan = parse_dry_run(DRY_RUN)
    assert plan.jobs == {"fetch_hub": 1, "tokenize_shard": 2, "pack_tokens": 1, "train_stage": 1, "all": 1}
    train = JobRequest("train_stage", 64000, 8, 1440, 2, "h100", 3)
    assert plan.single == [JobRequest("fetch_hub", 4000, 1, 60), train, JobRequest("all", 0, 1, 60)]
    ((name, requests),) = plan.groups
    assert name == "tokens"
    assert requests == [
        JobRequest("tokenize_shard", 8000, 4, 240), JobRequest("tokenize_shard", 9000, 4, 120), JobRequest("pack_tokens", 4000, 1, 30)
    ]  # fmt: skip
    # Tokenizations run at the same time, packing after them.
    assert together(name, requests) == JobRequest("group tokens", 17000, 8, 270)
    assert plan.submitted(["fetch_hub", "all"]) == [train, together(name, requests)]


def test_gpus_by_gres():
    plan = parse_dry_run("rule a:\n    resources: mem_mb=1, gpu=0, gres=gpu:a100:4\nrule b:\n    resources: gres=gpu:2\n")
    assert [(r.gpus, r.gpu_model) for r in plan.single] == [(4, "a100"), (2, None)]


@pytest.mark.parametrize(
    ("limit", "minutes"), [("infinite", None), ("1-12:00:00", 2160), ("2-00:00:00", 2880), ("12:30:00", 750), ("30:00", 30)]
)
def test_time_limits_of_slurm(limit: str, minutes: int | None):
    assert minutes_of(limit) == minutes


def test_times_left():
    assert [seconds_of(time) for time in ("1-00:00:01", "2:05", "0:00", "UNLIMITED")] == [86401, 125, 0, None]


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("gpu:h100:4", {"h100": 4}),
        ("gpu:h100:4(S:0-1),lscratch:1000", {"h100": 4}),
        ("gpu:2", {"": 2}),
        ("gpu:a100:2,gpu:v100:1", {"a100": 2, "v100": 1}),
    ],
)
def test_generic_resources(gres: str, gpus: dict[str, int]):
    assert gpus_of(gres) == gpus


SINFO = "cpu|up|1-00:00:00|2|32|128000|(null)\nh100|up|2-00:00:00|1|32|256000+|gpu:h100:4(S:0-1)\nold|drain|infinite|1|64+|512000|gpu:8\n"


def test_partitions():
    cpu, h100, old = parse_sinfo(SINFO)
    assert cpu == Nodes("cpu", True, 1440, 2, 32, 128000, {})
    assert h100 == Nodes("h100", True, 2880, 1, 32, 256000, {"h100": 4})
    assert old == Nodes("old", False, None, 1, 64, 512000, {"": 8})
    with pytest.raises(InputError, match="seven fields"):
        parse_sinfo("cpu up")


@pytest.mark.parametrize(
    ("request_", "lacks"),
    [
        (JobRequest("x", 128000, 32, 1440), None),
        (JobRequest("x", 200000), None),  # on h100
        (JobRequest("x", 300000), "partition cpu: 300000 MB, a node has 128000"),
        (JobRequest("x", 1, 33), "partition cpu: 33 threads, a node has 32"),
        (JobRequest("x", 1, 1, 3000), "partition cpu: 3000 minutes, the limit is 1440"),
        (JobRequest("x", 1, 1, 2000, 4, "h100"), None),
        (JobRequest("x", 1, 1, 60, 8, "h100"), "partition h100: 8 GPUs h100, a node has 4 h100"),
        (JobRequest("x", 1, 1, 2000, 1, "a100"), "partition h100: 1 GPUs a100, a node has 4 h100"),
        (JobRequest("x", 1, 1, 60, 4, "h100", 2), "partition h100: 2 nodes, there are 1"),
    ],
)
def test_room_on_nodes(request_: JobRequest, lacks: str | None):
    assert without_room([request_], parse_sinfo(SINFO)[:2]).get(request_) == lacks


def test_partition_that_is_not_up():
    old = parse_sinfo(SINFO)[2:]
    assert without_room([JobRequest("x", 1)], old) == {JobRequest("x", 1): "partition old: it is not up"}
