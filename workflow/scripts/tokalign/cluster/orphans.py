"""Slurm jobs that a killed snakemake left behind: find, cancel, and wait for them."""

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
"""Output format of squeue: number, state, name, working folder, comment (last, as it may hold any character)."""
COMMENT = "rule_"
"""Start of the comment that Snakemake's Slurm executor gives a job; the rule, or the group and its rules, follow."""


@dataclass(frozen=True)
class QueuedJob:
    """A job in Slurm's queue.

    Attributes:
        number: number of the job; tasks of an array share it.
        state: state, such as ``RUNNING``.
        run: name of the job, which is the run ID of the snakemake that submitted it.
        folder: working folder.
        comment: comment given at submission.
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
    """Parse squeue's output in ``FORMAT``."""
    return [QueuedJob(*line.split(SEPARATOR, 4)) for line in text.splitlines() if line.count(SEPARATOR) >= 4]


def own_jobs(jobs: list[QueuedJob], folder: Path) -> list[QueuedJob]:
    """Return the jobs submitted by a snakemake that was started in this folder."""
    return [job for job in jobs if job.comment.startswith(COMMENT) and Path(job.folder).resolve() == folder.resolve()]


def queued(folder: Path) -> list[QueuedJob]:
    """Return this user's queued jobs that a snakemake in this folder submitted."""
    return own_jobs(parse_queue(slurm("squeue", "--noheader", "--user", getpass.getuser(), "--format", FORMAT)), folder)


def drivers(folder: Path, processes: Path = Path("/proc")) -> dict[int, str]:
    """Return the snakemakes on this host that a user started in a folder.

    Those that run inside jobs are left out; they have the option ``--mode``, which snakemake gives to its helpers.

    Args:
        folder: working folder.
        processes: folder in which the system describes its processes.

    Returns:
        Command line by process number.
    """
    found = {}
    for entry in processes.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_text(errors="replace").split("\0")
            where = (entry / "cwd").resolve(strict=True)
        except OSError:  # has ended, or belongs to another user
            continue
        program = [Path(word).name for word in words[:3]]
        if where == folder.resolve() and "snakemake" in program and "--mode" not in words:
            found[int(entry.name)] = " ".join(words).strip()
    return found


def check_no_driver(folder: Path, processes: Path = Path("/proc")) -> None:
    """Check that no snakemake on this host works in a folder.

    Raises:
        TokalignError: one does, so its jobs are not orphans.
    """
    for number, command in drivers(folder, processes).items():
        raise TokalignError(
            f"{folder}: a snakemake is still at work here, so its jobs are not orphans",
            found=f"process {number}: {command}",
            expected="none",
            mend=f"wait for it, or end it with: kill -INT {number} (it cancels its jobs itself)",
        )


def cancel(jobs: list[QueuedJob], folder: Path, *, wait: float, poll: float = 2.0) -> None:
    """Cancel jobs and wait until they have left the queue.

    Args:
        jobs: at least one.
        folder: working folder.
        wait: longest time to wait in seconds; a training saves its state first.
        poll: seconds between two queries of the queue.

    Raises:
        TokalignError: some are still in the queue.
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
