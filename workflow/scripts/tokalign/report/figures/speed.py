"""Figures of speed, and of quality against speed."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from tokalign.report.figures import names
from tokalign.report.figures.common import GRID, Row, Table, number
from tokalign.report.figures.panels import LARGE, STEPS, figure_of, titled
from tokalign.report.figures.quality import in_lines, metric_panels
from tokalign.report.figures.systems import (
    PUBLISHED,
    Key,
    System,
    axis_label,
    count_of,
    errors_of,
    evaluations,
    interval_of,
    key_of,
    select,
    systems_in,
    wanted,
    whole,
)


def efficiency(comparison: Table) -> Figure:
    """Draw throughput in bytes and in tokens, latency and memory, by batch size: a bar per system."""
    metrics = (
        names.READ_BYTES, names.WRITTEN_BYTES, names.READ_TOKENS, names.WRITTEN_TOKENS,
        names.FIRST_TOKEN, names.PEAK_MEMORY,
    )  # fmt: skip
    rows = whole(wanted(comparison, "efficiency", metrics, "efficiency"))
    blocks = evaluations(rows)
    return figure_of(
        [line for name in blocks for line in in_lines(metric_panels(rows, metrics, name, len(blocks) > 1), 2)], comparison
    )


def _task(row: Row) -> tuple[str, ...]:
    return row["suite"], row["dataset"], row["condition"], row["metric"]


def mean_accuracies(rows: Table) -> dict[Key, tuple[float, int]]:
    """Return each system's mean accuracy over tasks and their number, for systems with all tasks.

    Args:
        rows: accuracies of one evaluation, a row per system and task.
    """
    tasks = {_task(row) for row in rows if row["origin"] != PUBLISHED}
    found: dict[Key, dict[tuple[str, ...], float]] = {}
    for row in rows:
        if _task(row) in tasks:
            found.setdefault(key_of(row), {})[_task(row)] = number(row["value"])
    return {key: (float(np.mean(list(own.values()))), len(tasks)) for key, own in found.items() if set(own) == tasks}


def accuracies(comparison: Table) -> Table:
    """Return one accuracy per system and task, normalized by length if available."""
    rows = whole([row for suite in ("tasks", "choices") for row in select(comparison, suite) if names.is_accuracy(row["metric"])])

    def rank(row: Row) -> tuple[int, int]:
        place = names.LENGTHS.index(row["condition"]) if row["condition"] in names.LENGTHS else len(names.LENGTHS)
        return names.ACCURACIES.index(row["metric"].partition(",")[0]), place

    best: dict[tuple[str, ...], tuple[int, int]] = {}
    for row in rows:
        task = (row["evaluation"], row["suite"], row["dataset"])
        best[task] = min(best.get(task, rank(row)), rank(row))
    return [row for row in rows if rank(row) == best[row["evaluation"], row["suite"], row["dataset"]]]


def _label(axes: Axes, points: list[tuple[float, float, System]]) -> None:
    """Write the name of each system beside its point; names that would overlap are stacked."""
    line = 11.0 * axes.figure.dpi / 72
    placed: list[tuple[float, float, float]] = []
    for x, y, system in sorted(points, key=lambda point: (point[1], point[0])):
        across, up = axes.transData.transform((x, y))
        right = across < axes.bbox.x0 + 0.55 * axes.bbox.width
        long = 6.2 * len(system.label) * axes.figure.dpi / 72
        low, high = (across, across + long) if right else (across - long, across)
        place = up
        while any(abs(place - other) < line and low < end and start < high for start, end, other in placed):
            place += 1.0
        placed.append((low, high, place))
        offset = (place - up) * 72 / axes.figure.dpi
        arrow = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.6} if offset > 4 else None
        axes.annotate(system.label, (x, y), xytext=(8 if right else -8, offset), textcoords="offset points", fontsize=8,
                      ha="left" if right else "right", va="center", arrowprops=arrow, zorder=5)  # fmt: skip


def quality_speed(comparison: Table) -> Figure:
    """Draw quality (bits per byte and, if measured, mean accuracy) over bytes written per second.

    One line of panels per evaluation and batch size.
    """
    speeds = whole(wanted(comparison, "efficiency", (names.WRITTEN_BYTES,), "quality_speed"))
    losses = whole(wanted(comparison, "perplexity", (names.BITS_PER_BYTE,), "quality_speed"))
    answers = accuracies(comparison)
    blocks = evaluations(speeds)
    lines = []
    for name in blocks:
        own = [row for row in speeds if row["evaluation"] == name]
        means = mean_accuracies([row for row in answers if row["evaluation"] == name])
        quality = {key_of(row): row for row in losses if row["evaluation"] == name}
        for condition in dict.fromkeys(row["condition"] for row in own):
            lines.append((name, condition, [row for row in own if row["condition"] == condition], quality, means))
    systems = systems_in(speeds, comparison)
    columns = 2 if any(means for *_, means in lines) else 1
    figure, axes = plt.subplots(
        len(lines),
        columns,
        figsize=(4.8 * columns if columns > 1 else 6.0, 3.8 * len(lines)),
        layout="constrained",
        squeeze=False,
    )
    labeled = []
    for places, (name, condition, own, quality, means) in zip(axes, lines, strict=True):
        for column, place in enumerate(places):
            points = []
            for row in own:
                key, x = key_of(row), number(row["value"])
                system = systems[key]
                if column == 0 and key in quality:
                    y, vertical = (
                        number(quality[key]["value"]),
                        errors_of(number(quality[key]["value"]), interval_of(quality[key])),
                    )
                elif column == 1 and key in means:
                    y, vertical = means[key][0], (0.0, 0.0)
                else:
                    continue
                across = errors_of(x, interval_of(row))
                place.errorbar(x, y, xerr=[[across[0]], [across[1]]] if any(across) else None, capsize=2, linestyle="none",
                               yerr=[[vertical[0]], [vertical[1]]] if any(vertical) else None, markersize=8, elinewidth=1,
                               zorder=3, **system.point)  # fmt: skip
                points.append((x, y, system))
            if not points:
                place.set_axis_off()
                continue
            tasks = max((count for _, count in means.values()), default=0)
            text, label = (
                " ".join(count_of(quality.values())),
                axis_label(list(quality.values()), names.METRICS[names.BITS_PER_BYTE]),
            )
            if column:
                text, label = f"{tasks} tasks", "mean accuracy\n(more is better)"
            place.set_title(f"{titled(name, len(blocks) > 1, condition)}\nn = {text}")
            place.set_xlabel(axis_label(own, names.METRICS[names.WRITTEN_BYTES]))
            place.set_ylabel(label)
            place.margins(x=0.15, y=0.18)
            place.set_xlim(left=0)
            place.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
            if max(x for x, _, _ in points) >= LARGE:
                place.xaxis.set_major_formatter(EngFormatter(sep=" "))
            place.grid(**GRID)
            labeled.append((place, points))
    figure.canvas.draw()  # positions are known only now
    for place, points in labeled:
        _label(place, points)
    return figure
