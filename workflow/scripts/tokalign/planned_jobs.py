"""What a dry run of Snakemake plans, and whether the nodes of a Slurm cluster have room for it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tokalign.errors import InputError

GROUP = re.compile(r"^(?:\[[^\]]*\] )?Group job (\S+) \(jobs in lexicogr\. order\):$")
JOB = re.compile(r"^( *)(?:local)?(?:rule|checkpoint) (\w+):$")
UNLIMITED = ("infinite", "n/a", "UNLIMITED", "NOT_SET", "INVALID")
"""What sinfo and squeue write where there is no limit, or none is known."""


@dataclass(frozen=True)
class Request:
    """What a job asks for on each of its nodes.

    Attributes:
        rule: of the job, or the name of a group.
        mem_mb: main memory. [MB]
        threads: CPU threads.
        minutes: time limit.
        gpus: number of GPUs.
        gpu_model: their model, if one is asked for.
        nodes: number of nodes.
    """

    rule: str
    mem_mb: int = 0
    threads: int = 1
    minutes: int = 0
    gpus: int = 0
    gpu_model: str | None = None
    nodes: int = 1


@dataclass
class Plan:
    """Jobs of a dry run.

    Attributes:
        jobs: number of jobs of each rule.
        single: what each job asks for that is in no group.
        groups: name of the group, and what each of its jobs asks for.
    """

    jobs: Counter[str] = field(default_factory=Counter)
    single: list[Request] = field(default_factory=list)
    groups: list[tuple[str, list[Request]]] = field(default_factory=list)

    def submitted(self, local: Iterable[str]) -> list[Request]:
        """Return what the jobs of Slurm ask for, one request for each group, without those of local rules."""
        here = set(local)
        alone = [request for request in self.single if request.rule not in here]
        return alone + [together(name, requests) for name, requests in self.groups]


def together(name: str, requests: list[Request]) -> Request:
    """Return what a group asks for: jobs of one rule run at the same time, those of different rules one after the other."""
    layers = defaultdict(list)
    for request in requests:
        layers[request.rule].append(request)
    return Request(
        f"group {name}",
        mem_mb=max(sum(request.mem_mb for request in layer) for layer in layers.values()),
        threads=max(sum(request.threads for request in layer) for layer in layers.values()),
        minutes=sum(max(request.minutes for request in layer) for layer in layers.values()),
        gpus=max(sum(request.gpus for request in layer) for layer in layers.values()),
        gpu_model=next((request.gpu_model for request in requests if request.gpu_model), None),
    )


def parse_dry_run(text: str) -> Plan:
    """Read what ``snakemake --dry-run --quiet host`` prints.

    Jobs of a group are indented and follow a line that names it. The tables before and after the jobs have no such lines.
    """
    plan = Plan()
    current: Request | None = None
    target: list[Request] = plan.single

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
            current = Request(job[2])
            target = plan.groups[-1][1] if job[1] else plan.single
        elif current is not None and line.lstrip().startswith("threads: "):
            current = replace(current, threads=int(line.split()[1]))
        elif current is not None and line.lstrip().startswith("resources: "):
            current = with_resources(current, line.split("resources: ", 1)[1])
    finish()
    return plan


def with_resources(request: Request, text: str) -> Request:
    """Fill in what the line of resources of a job says; what is not known yet (``<TBD>``) stays as it is."""
    found = dict(item.split("=", 1) for item in text.split(", ") if "=" in item)
    numbers = {"mem_mb": "mem_mb", "runtime": "minutes", "gpu": "gpus", "nodes": "nodes"}
    known = {own: int(found[name]) for name, own in numbers.items() if found.get(name, "").isdigit()}
    request = replace(request, **known, gpu_model=found.get("gpu_model"))
    request = replace(request, gpus=-(-request.gpus // request.nodes))  # `gpu` is the number of the whole job
    gres = found.get("gres", "").split(":")
    if gres[0] == "gpu" and gres[-1].isdigit():
        request = replace(request, gpus=int(gres[-1]), gpu_model=gres[1] if len(gres) == 3 else None)
    return request


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind in a partition, as sinfo describes them.

    Attributes:
        partition: its name.
        up: whether jobs can be submitted to it.
        minutes: longest time limit; ``None`` is no limit.
        number: of such nodes.
        threads: of each.
        mem_mb: of each. [MB]
        gpus: number by model; the model is "" where the site names none.
        max_gpu: GPUs that a job may have on all its nodes, as the profile says; ``None`` where it lists no partitions.
    """

    partition: str
    up: bool
    minutes: int | None
    number: int
    threads: int
    mem_mb: int
    gpus: dict[str, int]
    max_gpu: int | None = None

    def lacks(self, request: Request) -> list[str]:
        """Say what a job asks for that these nodes do not have."""
        lacking = []
        if not self.up:
            lacking.append("it is not up")
        if request.mem_mb > self.mem_mb:
            lacking.append(f"{request.mem_mb} MB, a node has {self.mem_mb}")
        if request.threads > self.threads:
            lacking.append(f"{request.threads} threads, a node has {self.threads}")
        if request.nodes > self.number:
            lacking.append(f"{request.nodes} nodes, there are {self.number}")
        if self.minutes is not None and request.minutes > self.minutes:
            lacking.append(f"{request.minutes} minutes, the limit is {self.minutes}")
        of_model = self.gpus.get(request.gpu_model, self.gpus.get("", 0)) if request.gpu_model else sum(self.gpus.values())
        if request.gpus > of_model:
            what = f"{request.gpus} GPUs" + (f" {request.gpu_model}" if request.gpu_model else "")
            lacking.append(f"{what}, a node has {', '.join(f'{n} {model}'.strip() for model, n in self.gpus.items()) or 'none'}")
        if self.max_gpu is not None and request.gpus * request.nodes > self.max_gpu:
            lacking.append(f"{request.gpus * request.nodes} GPUs in all, max_gpu in partitions.yaml is {self.max_gpu}")
        return lacking


SINFO = "%R|%a|%l|%D|%c|%m|%G"
"""Of sinfo: partition, availability, time limit, nodes, CPUs, memory, generic resources."""


def parse_sinfo(text: str) -> list[Nodes]:
    """Read what sinfo prints in the format ``SINFO``.

    Raises:
        InputError: a line is not in this format.
    """
    found = []
    for line in text.splitlines():
        fields = [part.strip() for part in line.split("|")]
        if len(fields) != 7:
            raise InputError("sinfo: a line that cannot be read", found=line, expected=f"seven fields, as by --format '{SINFO}'")
        partition, available, limit, number, threads, memory, gres = fields
        found.append(
            Nodes(partition, available == "up", minutes_of(limit), int(number), plain(threads), plain(memory), gpus_of(gres))
        )
    return found


def plain(number: str) -> int:
    """Return a number of sinfo, which writes ``96+`` where nodes differ: the least."""
    return int(number.rstrip("+"))


def seconds_of(limit: str) -> int | None:
    """Return a time of Slurm in seconds: ``1-12:00:00`` is 129600, ``30:00`` is 1800, ``infinite`` is ``None``."""
    if limit in UNLIMITED:
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    seconds = 0
    for part in [0] * (3 - len(parts)) + parts:
        seconds = 60 * seconds + part
    return int(days or 0) * 86400 + seconds


def minutes_of(limit: str) -> int | None:
    """Return a time limit of Slurm in minutes: ``1-12:00:00`` is 2160, ``infinite`` is ``None``."""
    seconds = seconds_of(limit)
    return None if seconds is None else seconds // 60


def gpus_of(gres: str) -> dict[str, int]:
    """Return the GPUs in generic resources by model: ``gpu:h100:4(S:0-1),lscratch:100`` has 4 of h100, ``gpu:2`` 2 of ''."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        words = part.split(":")
        if words[0] == "gpu" and words[-1].isdigit():
            model = words[1] if len(words) == 3 else ""
            found[model] = found.get(model, 0) + int(words[-1])
    return found


def without_room(requests: Iterable[Request], nodes: list[Nodes]) -> dict[Request, str]:
    """Return the requests that no partition has room for, with what the nearest one lacks."""
    reasons = {}
    for request in dict.fromkeys(requests):
        lacks = [(kind.lacks(request), kind) for kind in nodes]
        if lacks and all(missing for missing, _ in lacks):
            missing, nearest = min(lacks, key=lambda pair: (len(pair[0]), bool(request.gpus) and not pair[1].gpus))
            reasons[request] = f"partition {nearest.partition}: {'; '.join(missing)}"
    return reasons
