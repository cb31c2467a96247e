"""How long each rule took: the files that Snakemake's ``benchmark`` writes for each job, summed by rule."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tokalign.common.errors import ArtifactError
from tokalign.report.tables.files import Row

DURATIONS = ("rule", "jobs", "seconds", "longest_seconds", "cpu_seconds", "most_memory_mb")
MEASURED = {"s": "seconds", "cpu_time": "cpu_seconds", "max_rss": "most_memory_mb"}
"""Columns of Snakemake's files, and ours."""
UNMEASURED = ("NA", "-")


def duration_rows(folder: str | Path) -> tuple[tuple[str, ...], list[Row]]:
    """Return a row for each rule, those that took longest first, and one for all.

    Args:
        folder: with ``RULE/.../NAME.tsv`` for each job's last run; one that is missing gives no rows.

    Returns:
        The columns, and rows with the number of jobs, seconds (sum and longest job), seconds of all processors, and the
        resident memory of the largest job in MB.

    Raises:
        ArtifactError: a file is not what Snakemake writes.
    """
    jobs: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for file in sorted(Path(folder).rglob("*.tsv")):
        jobs[file.relative_to(folder).parts[0]].append(_read(file))
    if not jobs:
        return DURATIONS, []
    rows = sorted((_row(rule, runs) for rule, runs in jobs.items()), key=lambda row: (-row["seconds"], row["rule"]))
    return DURATIONS, [*rows, _row("all", [run for runs in jobs.values() for run in runs])]


def _read(file: Path) -> dict[str, float]:
    """Return the last line of a file as numbers; what could not be measured is 0."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    try:
        return {own: 0.0 if rows[-1][name] in UNMEASURED else float(rows[-1][name]) for name, own in MEASURED.items()}
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"{file}: not a benchmark file of Snakemake", found=repr(error), expected=f"a line with {', '.join(MEASURED)}",
            mend="remove it",
        ) from error  # fmt: skip


def _row(rule: str, runs: list[Mapping[str, float]]) -> Row:
    return {
        "rule": rule,
        "jobs": len(runs),
        "seconds": sum(run["seconds"] for run in runs),
        "longest_seconds": max(run["seconds"] for run in runs),
        "cpu_seconds": sum(run["cpu_seconds"] for run in runs),
        "most_memory_mb": max(run["most_memory_mb"] for run in runs),
    }
