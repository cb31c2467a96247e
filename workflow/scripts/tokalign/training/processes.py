"""Processes that train together: started by torchrun on one node, by srun on several, or a single one."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from tokalign.cluster.slurm import seconds_of
from tokalign.common.errors import ConfigurationError

log = logging.getLogger(__name__)

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: the slowest may be saving a state or waiting for a lock."""
FIRST_PORT, PORTS = 20_000, 30_000
"""Range of the ports where processes of several nodes meet."""


@dataclass(frozen=True)
class Processes:
    """The place of this process among those that train together.

    Attributes:
        rank: number of this process.
        world: number of processes.
        device: device of this process.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process does the writing for all."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for all processes."""
        self.largest(0)

    def largest(self, value: float) -> float:
        """Return the largest value of all processes; all must call this."""
        if self.world == 1:
            return value
        number = torch.tensor(float(value), dtype=torch.float64, device=self.device)
        distributed.all_reduce(number, op=distributed.ReduceOp.MAX)
        return float(number)

    def any(self, flag: bool) -> bool:
        """Return whether any process passes true; all must call this."""
        return bool(self.largest(float(flag)))

    def from_first(self, value: Any) -> Any:
        """Return the value of the first process, which may be any picklable object; all must call this.

        If all must act alike, one reads the disk and the others follow: on a shared file system they may see an outdated state.
        """
        if self.world == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def sums(self, values: list[float]) -> list[float]:
        """Return sums over the processes; all must call this."""
        if self.world == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(numbers)
        return numbers.tolist()


def slurm_address(environment: dict[str, str]) -> tuple[str, int]:
    """Return where the processes of a Slurm step meet: host and port.

    The host is the step's first node; the port follows from the ids of job and step.

    Raises:
        ConfigurationError: srun has not set the list of nodes.
    """
    nodes = environment.get("SLURM_STEP_NODELIST")
    if not nodes:
        raise ConfigurationError("srun: no SLURM_STEP_NODELIST", mend="start processes with srun, as the rule does")
    names = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True).stdout.split()
    host = names[0]
    try:
        socket.gethostbyname(host)
    except OSError:
        host = environment["SLURM_LAUNCH_NODE_IPADDR"]  # the name is known to Slurm only; srun runs on the first node
    job, step = int(environment["SLURM_JOB_ID"]), int(environment.get("SLURM_STEP_ID", 0))
    return host, FIRST_PORT + (job * 31 + step) % PORTS


def time_left(environment: dict[str, str]) -> int | None:
    """Return the seconds until Slurm ends this job; ``None`` without a job, a limit or an answer."""
    job = environment.get("SLURM_JOB_ID")
    if job is None:
        return None
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--job", job, "--format", "%L"], capture_output=True, text=True, check=True
        )
        return seconds_of(done.stdout.strip())
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        log.warning("Slurm does not say how much time this job has left (%s)", error)
        return None


def join() -> Processes:
    """Find this process's place from the variables of torchrun or srun, and meet the others.

    Environment variables for torch, accelerate and DeepSpeed are set if srun started the process.
    """
    environment = dict(os.environ)
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if "RANK" not in environment and tasks > 1:
        host, port = slurm_address(environment)
        os.environ |= {
            "RANK": environment["SLURM_PROCID"],
            "LOCAL_RANK": environment["SLURM_LOCALID"],
            "WORLD_SIZE": str(tasks),
            "MASTER_ADDR": host,
            "MASTER_PORT": str(port),
        }
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
        os.environ["LOCAL_RANK"] = str(local)
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns that it found no accelerator
    if world > 1:
        node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        log.info("process %d of %d on %s waits for the others", rank + 1, world, node)
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return Processes(rank, world, device)


def prepare_deepspeed(processes: Processes) -> None:
    """Keep DeepSpeed from compiling, and set the variables it needs for a process that trains alone.

    On a CPU it would compile an operator for inference through shared memory. That takes minutes, is useless on several nodes,
    and leaves a lock if it is killed, on which every later run hangs.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if processes.world > 1:
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }.items():
        os.environ.setdefault(name, value)


def leave(processes: Processes) -> None:
    """End one of several processes successfully, once all have finished.

    Python's normal exit would destroy leftovers of DeepSpeed and gloo, whose threads sometimes abort the process then ("terminate
    called without an active exception"): a finished training would count as failed.
    """
    if processes.world == 1:
        return
    distributed.destroy_process_group()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
