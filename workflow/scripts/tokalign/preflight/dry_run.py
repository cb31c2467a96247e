"""Jobs that a dry run of Snakemake plans, and whether a Slurm cluster can run them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tokalign.cluster.slurm import JobRequest, Nodes

GROUP = re.compile(r"^(?:\[[^\]]*\] )?Group job (\S+) \(jobs in lexicogr\. order\):$")
JOB = re.compile(r"^( *)(?:local)?(?:rule|checkpoint) (\w+):$")


@dataclass
class DryRun:
    """Jobs of a dry run.

    Attributes:
        jobs: number of jobs of each rule.
        single: requests of jobs outside of groups.
        groups: requests of the jobs of each group, by its name.
    """

    jobs: Counter[str] = field(default_factory=Counter)
    single: list[JobRequest] = field(default_factory=list)
    groups: list[tuple[str, list[JobRequest]]] = field(default_factory=list)

    def submitted(self, local: Iterable[str]) -> list[JobRequest]:
        """Return the requests of Slurm jobs, one per group, without local rules."""
        here = set(local)
        alone = [request for request in self.single if request.rule not in here]
        return alone + [together(name, requests) for name, requests in self.groups]


def together(name: str, requests: list[JobRequest]) -> JobRequest:
    """Return the request of a group of jobs.

    Jobs of one rule run at the same time, different rules one after the other.
    """
    layers = defaultdict(list)
    for request in requests:
        layers[request.rule].append(request)
    return JobRequest(
        f"group {name}",
        mem_mb=max(sum(request.mem_mb for request in layer) for layer in layers.values()),
        threads=max(sum(request.threads for request in layer) for layer in layers.values()),
        minutes=sum(max(request.minutes for request in layer) for layer in layers.values()),
        gpus=max(sum(request.gpus for request in layer) for layer in layers.values()),
        gpu_model=next((request.gpu_model for request in requests if request.gpu_model), None),
    )


def parse_dry_run(text: str) -> DryRun:
    """Parse the output of ``snakemake --dry-run --quiet host``.

    Jobs of a group are indented below a line that names it. The tables before and after the jobs have no such lines.
    """
    plan = DryRun()
    current: JobRequest | None = None
    target: list[JobRequest] = plan.single

    def finish() -> None:
        if current is not None:
            plan.jobs[current.rule] += 1
            target.append(current)

    for line in text.splitlines():
        if group := GROUP.match(line):
            finish()
            current = None
            plan.groups.append((group[1], []))
        elif job := JOB.match(line):
            finish()
            current = JobRequest(job[2])
            target = plan.groups[-1][1] if job[1] else plan.single
        elif current is not None and line.lstrip().startswith("threads: "):
            current = replace(current, threads=int(line.split()[1]))
        elif current is not None and line.lstrip().startswith("resources: "):
            current = with_resources(current, line.split("resources: ", 1)[1])
    finish()
    return plan


def with_resources(request: JobRequest, text: str) -> JobRequest:
    """Fill in the resources of a job's line; unknown ones (``<TBD>``) stay unchanged."""
    found = dict(item.split("=", 1) for item in text.split(", ") if "=" in item)
    numbers = {"mem_mb": "mem_mb", "runtime": "minutes", "gpu": "gpus", "nodes": "nodes"}
    known = {own: int(found[name]) for name, own in numbers.items() if found.get(name, "").isdigit()}
    request = replace(request, **known, gpu_model=found.get("gpu_model"))
    request = replace(request, gpus=-(-request.gpus // request.nodes))  # `gpu` counts the GPUs of the whole job
    gres = found.get("gres", "").split(":")
    if gres[0] == "gpu" and gres[-1].isdigit():
        request = replace(request, gpus=int(gres[-1]), gpu_model=gres[1] if len(gres) == 3 else None)
    return request


def without_room(requests: Iterable[JobRequest], nodes: list[Nodes]) -> dict[JobRequest, str]:
    """Return the requests that fit no partition, with what the nearest one lacks."""
    reasons = {}
    for request in dict.fromkeys(requests):
        lacks = [(kind.lacks(request), kind) for kind in nodes]
        if lacks and all(missing for missing, _ in lacks):
            missing, nearest = min(lacks, key=lambda pair: (len(pair[0]), bool(request.gpus) and not pair[1].gpus))
            reasons[request] = f"partition {nearest.partition}: {'; '.join(missing)}"
    return reasons
