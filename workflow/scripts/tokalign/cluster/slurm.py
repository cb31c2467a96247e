"""Slurm's commands and formats: nodes and partitions, time limits, GPUs of a request."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from tokalign.common.errors import InputError


def slurm(*command: str) -> str:
    """Run a command of Slurm and return what it prints.

    Raises:
        InputError: there is no such program, or it failed.
    """
    try:
        result = subprocess.run(command, text=True, capture_output=True, timeout=60)
    except FileNotFoundError as error:
        raise InputError(f"{command[0]}: no such program", mend="run this on a machine from which jobs are submitted") from error
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{command[0]}: no answer within a minute", mend="wait until the cluster answers, and try again"
        ) from error
    if result.returncode:
        raise InputError(f"{command[0]}: failed", found=result.stderr.strip() or f"exit status {result.returncode}")
    return result.stdout


UNLIMITED = ("infinite", "n/a", "UNLIMITED", "NOT_SET", "INVALID")
"""What sinfo and squeue write where there is no limit, or none is known."""


@dataclass(frozen=True)
class JobRequest:
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

    def lacks(self, request: JobRequest) -> list[str]:
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
