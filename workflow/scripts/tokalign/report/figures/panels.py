"""Panels of horizontal bars or points, a row per group and a mark per system."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

from tokalign.report.figures.common import GRID, Row, Table
from tokalign.report.figures.systems import (
    PUBLISHED,
    Systems,
    axis_label,
    count_of,
    errors_of,
    groups_of,
    interval_of,
    key_of,
    number,
    systems_in,
)

log = logging.getLogger(__name__)

SURROUND = 1.05
"""Height of title, axis and label of a panel in inches."""
LARGE = 10_000
"""Numbers from here on are written as 12 k, 3.4 M."""
WIDE = 20
"""Points that span more than this factor are drawn on a logarithmic scale."""
STEPS = (1, 2, 2.5, 5, 10)
"""Of ticks."""
LINE = 44
"""Characters per line of a title or label."""
INTERVAL = {"ecolor": "#222222", "elinewidth": 1, "capsize": 2}


def _own_value(row: Row) -> float:
    return number(row["value"])


@dataclass
class Panel:
    """A panel of a figure.

    Attributes:
        title: what it shows.
        groups: rows of each group by its name, from top to bottom; at most one row per system.
        label: label of the value axis.
        kind: ``bar`` (from zero) or ``point``.
        value: returns the drawn value of a row.
        bounds: returns the interval of the drawn value.
        reference: returns the value of a line across a group, NaN for no line.
    """

    title: str
    groups: dict[str, Table]
    label: str
    kind: str = "bar"
    value: Callable[[Row], float] = _own_value
    bounds: Callable[[Row], tuple[float, float]] = interval_of
    reference: Callable[[Row], float] | None = None

    def __post_init__(self) -> None:
        """Drop published values whose unit differs from that of the measured ones."""
        units = {row["unit"] for row in self.rows if row["origin"] != PUBLISHED} - {""}
        for rows in self.groups.values():
            for row in [row for row in rows if row["origin"] == PUBLISHED and units and row["unit"] not in ("", *units)]:
                log.warning("warning: %s of %s is not drawn: its unit is %s, here it is %s",
                            row["metric"], row["system"], row["unit"], ", ".join(sorted(units)))  # fmt: skip
                rows.remove(row)
        self.groups = {name: rows for name, rows in self.groups.items() if rows}

    @property
    def rows(self) -> Table:
        """Rows of all groups."""
        return [row for rows in self.groups.values() for row in rows]

    @property
    def most(self) -> int:
        """Systems in the largest group."""
        return max((len(rows) for rows in self.groups.values()), default=1)

    @property
    def thickness(self) -> float:
        """Height of a bar in inches."""
        return {1: 0.26, 2: 0.2, 3: 0.16, 4: 0.15}.get(self.most, 0.13)

    @property
    def pitch(self) -> float:
        """Height of a group in inches."""
        return max(0.34, self.thickness * self.most + 0.14)

    @property
    def height(self) -> float:
        """Height of the panel in inches, with title and axis."""
        return SURROUND + self.pitch * len(self.groups)


def panel_of(title: str, rows: Sequence[Row], label: str, **options: object) -> Panel:
    """Return a panel of one metric.

    Its title gives the number of items if it is the same in all rows.

    Args:
        title: what it shows.
        rows: rows of one evaluation and metric.
        label: the metric in words.
        options: options of :class:`Panel`.
    """
    return Panel(title, groups_of(rows), axis_label(rows, label), **options)


def _format(value: float) -> str:
    return (
        EngFormatter(places=1, sep=" ")(value)
        if abs(value) >= LARGE
        else f"{value:.3g}"
        if abs(value) < 1000
        else f"{value:,.0f}"
    )


def draw_panel(axes: Axes, panel: Panel, systems: Systems, height: float) -> None:
    """Draw a panel.

    Args:
        axes: axes to draw on.
        panel: panel to draw.
        systems: systems of the whole figure, so that each looks the same in all panels.
        height: height of the line in inches; a panel with fewer groups than its neighbor has equal bars and space below.
    """
    size = panel.thickness / panel.pitch
    texts = len(panel.groups) * panel.most <= 24
    extremes = [0.0] if panel.kind == "bar" else []
    for level, rows in enumerate(panel.groups.values()):
        for slot, row in enumerate(sorted(rows, key=lambda row: systems[key_of(row)].index)):
            system = systems[key_of(row)]
            y = level + (slot - (len(rows) - 1) / 2) * size
            value, bounds = panel.value(row), panel.bounds(row)
            extent = errors_of(value, bounds)
            known = not np.isnan(bounds).any()
            if panel.kind == "bar":
                axes.barh(y, value, height=size * 0.92, zorder=2, **system.bar)
                if known:
                    axes.errorbar(value, y, xerr=[[extent[0]], [extent[1]]], fmt="none", zorder=4, **INTERVAL)
            else:
                axes.errorbar(value, y, xerr=[[extent[0]], [extent[1]]] if known else None, linestyle="none", markersize=6,
                              capsize=2, elinewidth=1.2, zorder=3, **system.point)  # fmt: skip
            extremes += [value - extent[0], value + extent[1]]
            if texts:
                negative = value < 0
                gap = 4 if panel.kind == "bar" else 7
                edge = value - extent[0] if negative else value + extent[1]
                axes.annotate(_format(value), (edge, y), xytext=(-gap if negative else gap, 0), textcoords="offset points",
                              ha="right" if negative else "left", va="center", fontsize=8, zorder=5)  # fmt: skip
    if panel.reference is not None:
        for level, rows in enumerate(panel.groups.values()):
            lines = sorted({value for row in rows if not np.isnan(value := panel.reference(row))})
            axes.vlines(lines, level - 0.5, level + 0.5, color="#222222", linestyle=":", linewidth=1.6, zorder=3)
            extremes += lines
    low, high = min(extremes), max(extremes)
    span = (high - low) or abs(high) or 1.0
    room = 0.2 if texts else 0.05
    left = low - span * room if low < 0 or panel.kind == "point" else 0.0
    axes.set_xlim(left, high + span * room if high > 0 or panel.kind == "point" else 0.0)
    axes.set_ylim((height - SURROUND) / panel.pitch - 0.5, -0.5)
    counts = [count_of(rows) for rows in panel.groups.values()]
    same = len(set(counts)) == 1
    own = ["" if same or not count else f"n = {count}" for count, _ in counts]
    labels = ["\n".join(filter(None, pair)) for pair in zip(panel.groups, own, strict=True)]
    axes.set_yticks(range(len(panel.groups)), labels)
    axes.tick_params(axis="y", length=0)
    count = f"n = {' '.join(filter(None, counts[0]))}" if same and counts[0][0] else ""
    axes.set_title("\n".join(filter(None, (textwrap.fill(panel.title, LINE), count))))
    axes.set_xlabel("\n".join(textwrap.fill(line, LINE) for line in panel.label.split("\n")))
    if panel.kind == "point" and low > 0 and high > WIDE * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.3, high * (2.5 if texts else 1.3))
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    if max(abs(low), abs(high)) >= LARGE:
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.grid(axis="x", **GRID)
    axes.set_axisbelow(True)
    if low < 0:
        axes.axvline(0, color="black", linewidth=0.8, zorder=3)


def legend(figure: Figure, systems: Systems, kind: str, width: float) -> None:
    """Put the names of the systems below the panels, in as many columns as fit.

    Args:
        figure: figure to draw on.
        systems: systems in order.
        kind: kind of the handles.
        width: width of the figure in inches.
    """
    handles = [system.handle(kind) for system in systems.values()]
    longest = max(len(system.label) for system in systems.values())
    columns = max(1, min(len(handles), int(width / (0.075 * longest + 0.55))))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def figure_of(panels: Sequence[Sequence[Panel]], comparison: Table, width: float = 4.0, shared: bool = False) -> Figure:
    """Draw lines of panels with one legend.

    Args:
        panels: lines of panels; shorter lines end with empty places.
        comparison: the whole table.
        width: width of a panel in inches.
        shared: whether the panels of a line have the same axis.
    """
    systems = systems_in((row for line in panels for panel in line for row in panel.rows), comparison)
    columns = max(len(line) for line in panels)
    heights = [max(panel.height for panel in line) for line in panels]
    size = (width * columns, sum(heights) + 0.25 + 0.2 * len(systems) / 2)
    figure, axes = plt.subplots(len(panels), columns, figsize=size, layout="constrained", squeeze=False, height_ratios=heights)
    for places, line, height in zip(axes, panels, heights, strict=True):
        for place, panel in zip(places, line, strict=False):
            draw_panel(place, panel, systems, height)
        if shared:
            limits = [place.get_xlim() for place in places[: len(line)]]
            for place in places[: len(line)]:
                place.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
        for place in places[len(line) :]:
            place.set_axis_off()
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.08)
    kinds = {panel.kind for line in panels for panel in line}
    legend(figure, systems, "bar" if "bar" in kinds else "point", size[0])
    return figure


def titled(evaluation: str, several: bool, title: str) -> str:
    """Put the evaluation's name before a title if a figure shows several evaluations."""
    return f"{evaluation} · {title}" if several else title
