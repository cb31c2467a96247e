"""List or cancel the Slurm jobs that a killed snakemake left behind.

Snakemake does not know the jobs of a killed run: it would submit them again while they are still writing. Jobs belong to this
workflow if they run in this folder and their comment names a rule as Snakemake writes it.
"""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

from tokalign.cluster.orphans import cancel, check_no_driver, queued
from tokalign.common import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--cancel", action="store_true", help="cancel the jobs and wait until they have ended")
    parser.add_argument(
        "--folder", type=Path, default=Path.cwd(), help="folder in which snakemake was started; by default the current one"
    )
    parser.add_argument("--wait", type=float, default=180, help="seconds to wait for the jobs to end")
    return parser


def main(args: argparse.Namespace) -> None:
    """List, or cancel and wait.

    Raises:
        TokalignError: a snakemake is at work in the folder, or jobs do not end.
    """
    check_no_driver(args.folder)
    jobs = queued(args.folder)
    if not jobs:
        print(f"No jobs of {args.folder} are in the queue, and no snakemake works here on {socket.gethostname()}.")
    for job in jobs:
        print(f"{job.number:>10}  {job.state:12} {job.rule}")
    if jobs and not args.cancel:
        print(
            f"{len(jobs)} jobs without a snakemake on {socket.gethostname()}. If none runs on another host either, cancel them,"
        )
        print("and remove the lock, with: make orphans")
        return
    if jobs:
        cancel(jobs, args.folder, wait=args.wait)
    print("Next, if snakemake says that the folder is locked: snakemake --unlock")
    print("Then start the same command as before; finished steps are kept, and trainings go on from their last saved state.")


if __name__ == "__main__":
    cli.run(main, arguments())
