"""Slurm's commands and formats: nodes and partitions, time limits, GPUs of a request."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from tokalign.common.errors import InputError


def slurm(*command: str) -> str:
    """Run a Slurm command and return its output.

    Raises:
        InputError: the program is missing, fails or does not answer within a minute.
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
"""What sinfo and squeue print for no limit or an unknown one."""


@dataclass(frozen=True)
class JobRequest:
    """What a job requests on each of its nodes.

    Attributes:
        rule: rule of the job, or name of a group.
        mem_mb: main memory. [MB]
        threads: CPU threads.
        minutes: time limit. [min]
        gpus: number of GPUs.
        gpu_model: GPU model, if the job requests one.
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
        minutes: longest time limit, ``None`` for no limit. [min]
        number: number of such nodes.
        threads: CPU threads of each node.
        mem_mb: main memory of each node. [MB]
        gpus: number of GPUs of each node by model; the model is "" if the site names none.
        max_gpu: most GPUs of a job on all its nodes, from the profile; ``None`` if it lists no partitions.
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
        """Return what a job requests that these nodes do not have."""
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
"""Output format of sinfo: partition, availability, time limit, nodes, CPUs, memory, generic resources."""


def parse_sinfo(text: str) -> list[Nodes]:
    """Parse sinfo's output in the format ``SINFO``.

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
    """Parse a number of sinfo, which writes ``96+`` if nodes have 96 or more."""
    return int(number.rstrip("+"))


def seconds_of(limit: str) -> int | None:
    """Convert a Slurm time to seconds: ``1-12:00:00`` is 129600, ``30:00`` is 1800, ``infinite`` is ``None``."""
    if limit in UNLIMITED:
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    seconds = 0
    for part in [0] * (3 - len(parts)) + parts:
        seconds = 60 * seconds + part
    return int(days or 0) * 86400 + seconds


def minutes_of(limit: str) -> int | None:
    """Convert a Slurm time limit to minutes: ``1-12:00:00`` is 2160, ``infinite`` is ``None``."""
    seconds = seconds_of(limit)
    return None if seconds is None else seconds // 60


def gpus_of(gres: str) -> dict[str, int]:
    """Parse GPUs by model from generic resources: ``gpu:h100:4(S:0-1),lscratch:100`` is {'h100': 4}, ``gpu:2`` is {'': 2}."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        words = part.split(":")
        if words[0] == "gpu" and words[-1].isdigit():
            model = words[1] if len(words) == 3 else ""
            found[model] = found.get(model, 0) + int(words[-1])
    return found
