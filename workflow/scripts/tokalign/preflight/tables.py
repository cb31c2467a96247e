"""Output of the preflight: tables of checks, trainings with GPU hours, and jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tokalign.cluster import gpus
from tokalign.preflight import estimates
from tokalign.preflight.checks import GB, Check, Training
from tokalign.preflight.dry_run import DryRun

WIDTH = 64
"""Characters of a cell of the table of checks; longer text goes below the table."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format rows as text in columns."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def checks_table(checks: Sequence[Check]) -> str:
    """Return the table of checks, and below it what to do about failed checks."""
    words = {True: "ok", False: "FAILS", None: "-"}
    rows = [(words[c.ok], *(shortened(cell) for cell in (c.name, c.found, c.expected))) for c in checks]
    text = table(("", "check", "found", "expected"), rows)
    failed = [check for check in checks if check.ok is False]
    for check in failed:
        text += f"\n\n{check.name}\n  found:    {check.found}\n  expected: {check.expected}\n  to mend:  {check.mend}"
    return text


def shortened(cell: str) -> str:
    """Shorten a cell to at most ``WIDTH`` characters."""
    return cell if len(cell) <= WIDTH else f"{cell[: WIDTH - 3]}..."


def trainings_table(plan: Sequence[Training], gpu: str | None, notes: Mapping[str, str]) -> str:
    """Return the table of trainings with the total.

    Args:
        plan: all trainings.
        gpu: model of the GPU in the profile.
        notes: by model or tokenizer: what is not known exactly.
    """
    rows, total, unknown = [], 0.0, False
    for training in plan:
        stage, size, labels = training.stage, training.size, training.labels
        devices = f"{stage.gpus} x {stage.nodes}" if stage.gpus else f"CPU x {stage.nodes}"
        hours, memory, state = "?", "?", "?"
        if training.done:
            hours = "done"
        elif size is not None:
            cost = estimates.gpu_hours(size, stage, gpu)
            total += cost
            hours = f"{cost:.1f}" if stage.gpus else f"({estimates.training_hours(size, stage, None):.1f} h)"
        elif stage.gpus:
            unknown = True
        if size is not None:
            memory = f"{estimates.device_bytes(size, stage) / GB:.1f}"
            state = f"{estimates.state_bytes(size, stage) / GB:.1f}"
        run = f"{labels['model']} -> {labels['tokenizer']}, seed {labels['seed']}"
        tokens = f"{stage.tokens / 1e6:,.1f}"
        rows.append(
            (labels["experiment"], run, labels["stage"], stage.train, f"{stage.steps}", tokens, devices, hours, memory, state)
        )
    header = (
        "experiment",
        "run",
        "stage",
        "trains",
        "steps",
        "M tokens",
        "GPUs x nodes",
        "GPU hours",
        "GB a device",
        "GB a state",
    )
    assumed = gpu or f"{gpus.UNKNOWN_GPU} (the profile names none)"
    text = table(header, rows)
    text += f"\nIn all about {total:,.0f} GPU hours on {assumed} at {estimates.UTILIZATION:.0%} of its peak"
    text += ", without the stages marked ?." if unknown else "."
    for name, note in notes.items():
        text += f"\nRough: {name}: {note}."
    return text


def jobs_table(plan: DryRun, local: Sequence[str], *, slurm: bool) -> str:
    """Return the number of jobs by rule, and below it the number of Slurm jobs."""
    own = groups_by_rule(plan)
    rows = [(rule, str(count), "here" if rule in local else own.get(rule, "")) for rule, count in sorted(plan.jobs.items())]
    here = sum(count for rule, count in plan.jobs.items() if rule in local)
    total = sum(plan.jobs.values())
    submitted = len(plan.submitted(local))
    text = table(("rule", "jobs", "runs"), rows)
    if slurm:
        return f"{text}\n{total} jobs: {here} where snakemake runs, {total - here} others as {submitted} jobs of Slurm."
    return f"{text}\n{total} jobs."


def groups_by_rule(plan: DryRun) -> dict[str, str]:
    """Return the groups of each rule's jobs as text."""
    found: dict[str, dict[str, int]] = {}
    for name, requests in plan.groups:
        for rule in {request.rule for request in requests}:
            groups = found.setdefault(rule, {})
            groups[name] = groups.get(name, 0) + 1
    return {
        rule: ", ".join(f"in {number} groups {name}" if number > 1 else f"in group {name}" for name, number in groups.items())
        for rule, groups in found.items()
    }
