"""Jobs of Slurm that a killed snakemake left behind: found by their working folder, canceled, and waited for."""

from __future__ import annotations

import getpass
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from tokalign.cluster.slurm import slurm
from tokalign.common.errors import TokalignError

log = logging.getLogger(__name__)

SEPARATOR = "|"
FORMAT = SEPARATOR.join(("%A", "%T", "%j", "%Z", "%k"))
"""Of squeue: number, state, name, working folder, comment (last, as it may hold anything)."""
COMMENT = "rule_"
"""How the comment begins that Snakemake's Slurm executor gives a job; the rule follows, or the group and its rules."""


@dataclass(frozen=True)
class QueuedJob:
    """A job in the queue of Slurm.

    Attributes:
        number: of the job; tasks of an array share it.
        state: such as ``RUNNING``.
        run: name of the job, which is the run ID of the snakemake that submitted it.
        folder: where it runs.
        comment: what its owner says about it.
    """

    number: str
    state: str
    run: str
    folder: str
    comment: str

    @property
    def rule(self) -> str:
        """The rule (or group with its rules) and wildcards."""
        return self.comment.removeprefix(COMMENT).replace("_wildcards_", " ")


def parse_queue(text: str) -> list[QueuedJob]:
    """Read what squeue prints in ``FORMAT``."""
    return [QueuedJob(*line.split(SEPARATOR, 4)) for line in text.splitlines() if line.count(SEPARATOR) >= 4]


def own_jobs(jobs: list[QueuedJob], folder: Path) -> list[QueuedJob]:
    """Return the jobs that a snakemake started in this folder has submitted."""
    return [job for job in jobs if job.comment.startswith(COMMENT) and Path(job.folder).resolve() == folder.resolve()]


def queued(folder: Path) -> list[QueuedJob]:
    """Return this user's jobs of this workflow that are in the queue."""
    return own_jobs(parse_queue(slurm("squeue", "--noheader", "--user", getpass.getuser(), "--format", FORMAT)), folder)


def drivers(folder: Path, processes: Path = Path("/proc")) -> dict[int, str]:
    """Return the snakemakes of this host that work in a folder and were started by a user: number and command line.

    Those that run inside of jobs are told by ``--mode``, which snakemake gives to its own helpers.

    Args:
        folder: working folder.
        processes: where the system describes its processes.
    """
    found = {}
    for entry in processes.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_text(errors="replace").split("\0")
            where = (entry / "cwd").resolve(strict=True)
        except OSError:  # ended meanwhile, or belongs to somebody else
            continue
        program = [Path(word).name for word in words[:3]]
        if where == folder.resolve() and "snakemake" in program and "--mode" not in words:
            found[int(entry.name)] = " ".join(words).strip()
    return found


def check_no_driver(folder: Path, processes: Path = Path("/proc")) -> None:
    """Check that no snakemake of this host works in a folder.

    Raises:
        TokalignError: one does; its jobs are no orphans.
    """
    for number, command in drivers(folder, processes).items():
        raise TokalignError(
            f"{folder}: a snakemake is still at work here, so its jobs are no orphans",
            found=f"process {number}: {command}",
            expected="none",
            mend=f"wait for it, or end it with: kill -INT {number} (it cancels its jobs itself)",
        )


def cancel(jobs: list[QueuedJob], folder: Path, *, wait: float, poll: float = 2.0) -> None:
    """Cancel jobs and wait until they have left the queue.

    Args:
        jobs: at least one.
        folder: working folder.
        wait: seconds to wait at the most; a training saves its state first.
        poll: seconds between two looks at the queue.

    Raises:
        TokalignError: some are still there.
    """
    numbers = {job.number for job in jobs}
    slurm("scancel", *sorted(numbers))
    log.info("canceled %d jobs; waiting at most %.0f s until they have ended", len(numbers), wait)
    start = time.monotonic()
    while left := [job for job in queued(folder) if job.number in numbers]:
        if time.monotonic() - start > wait:
            raise TokalignError(
                f"{len(left)} canceled jobs have not ended within {wait:.0f} s",
                found=", ".join(f"{job.number} ({job.state}, {job.rule})" for job in left),
                mend="wait and run this again, or end them with: scancel --signal=KILL " + " ".join(job.number for job in left),
            )
        log.info("%d of %d jobs are still ending", len({job.number for job in left}), len(numbers))
        time.sleep(poll)
    log.info("all jobs have ended after %.0f s", time.monotonic() - start)
