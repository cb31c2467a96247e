"""Rows of the comparison as figures show them: systems and their looks, groups of rows and their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tokalign.common.errors import ArtifactError
from tokalign.evaluation.columns import ALL
from tokalign.report.figures.common import DASHES, LIGHT, MARKERS, PALETTE, Row, Table, hatch_of, need, number

PUBLISHED = "published"
ROLES = ("tokenizer", "source", "baseline", "initialized", "stage", "adapted")
"""Roles in drawing order; published systems come last."""


@dataclass(frozen=True)
class System:
    """A system or a tokenizer as drawn in all panels of a figure.

    Attributes:
        name: name in its rows.
        role: role in its rows.
        index: place in the order; determines color, marker, hatch and dashes.
        published: whether its numbers come from a publication; drawn hollow.
    """

    name: str
    role: str
    index: int
    published: bool

    @property
    def label(self) -> str:
        """Name in a legend."""
        return f"{self.name} (published)" if self.published and PUBLISHED not in self.name else self.name

    @property
    def color(self) -> str:
        """Color, the same in all figures of one table."""
        return PALETTE[self.index % 8]

    @property
    def marker(self) -> str:
        """Marker of points."""
        return MARKERS[(self.index + self.index // 8) % 8]

    @property
    def dashes(self) -> str:
        """Dashes of lines."""
        return DASHES[self.index % 4]

    @property
    def bar(self) -> dict[str, object]:
        """Options of a bar: filled and hatched, hollow if published."""
        if self.published:
            return {"facecolor": "white", "edgecolor": self.color, "hatch": "////", "linewidth": 1.2, "linestyle": "--"}
        hatching = "#333333" if self.color in LIGHT else "white"
        return {"facecolor": self.color, "edgecolor": hatching, "hatch": hatch_of(self.index), "linewidth": 0.4}

    @property
    def point(self) -> dict[str, object]:
        """Options of a point: filled, hollow if published."""
        face = "white" if self.published else self.color
        edge = self.color if self.published else "black"
        return {"marker": self.marker, "markerfacecolor": face, "markeredgecolor": edge, "ecolor": self.color,
                "markeredgewidth": 1.4 if self.published else 0.6}  # fmt: skip

    def handle(self, kind: str = "bar") -> Artist:
        """Return the system's legend handle; ``kind`` is ``bar``, ``point`` or ``line``."""
        if kind == "bar":
            return Patch(label=self.label, **self.bar)
        own = {key: value for key, value in self.point.items() if key != "ecolor"}
        return Line2D([], [], color=self.color, linestyle=self.dashes if kind == "line" else "none", label=self.label, **own)


Key = tuple[str, bool]
Systems = dict[Key, System]


def key_of(row: Row) -> Key:
    """Return the key of a system: its name, and whether its numbers are published."""
    return row["system"], row["origin"] == PUBLISHED


def systems_of(rows: Iterable[Row]) -> Systems:
    """Return the systems of rows in drawing order: by role, then as in the table, published ones last."""
    roles: dict[Key, str] = {}
    for row in rows:
        roles.setdefault(key_of(row), row["role"])
    order = sorted(roles, key=lambda key: (key[1], ROLES.index(roles[key]) if roles[key] in ROLES else len(ROLES)))
    return {key: System(key[0], roles[key], index, key[1]) for index, key in enumerate(order)}


def systems_in(rows: Iterable[Row], comparison: Table) -> Systems:
    """Return the systems of some rows, each with its place in the whole comparison.

    So each looks the same in all panels and figures.

    Args:
        rows: rows of a figure, either of tokenizers or of models.
        comparison: the whole table.
    """
    present = {key_of(row): row["role"] for row in rows}
    tokenizers = "tokenizer" in present.values()
    known = systems_of(row for row in comparison if row["role"] == PUBLISHED or (row["role"] == "tokenizer") == tokenizers)
    return {key: system for key, system in known.items() if key in present}


def of_models(rows: Table, comparison: Table) -> Table:
    """Return rows of tokenizers as rows of the models that use them.

    Args:
        rows: rows of the suite tokenizers.
        comparison: the whole table.
    """
    heads: dict[tuple[str, str, bool], Row] = {}
    for row in comparison:
        if row["role"] != "tokenizer":
            heads.setdefault((row["evaluation"], *key_of(row)), row)
    found: dict[tuple[str, ...], Row] = {}  # a tokenizer compared with two others has the same values twice
    for head in heads.values():
        for row in rows:
            own = row["role"] == "tokenizer" and row["evaluation"] == head["evaluation"]
            if own and head["tokenizer"] and (row["tokenizer"] or row["system"]) == head["tokenizer"]:
                place = tuple(row[key] for key in ("evaluation", "dataset", "condition", "language", "domain", "metric", "level"))
                found.setdefault((*key_of(head), *place), {**row, **{key: head[key] for key in ("system", "role", "origin")}})
    return [*found.values(), *(row for row in rows if row["origin"] == PUBLISHED)]


def capital(name: str) -> str:
    """Capitalize a name for the start of a title; chrF++ stays unchanged."""
    return name[0].upper() + name[1:] if name.split()[0].islower() else name


def select(table: Table, suite: str, metrics: Sequence[str] | None = None, where: Callable[[Row], bool] | None = None) -> Table:
    """Return the rows of a suite that have a value.

    Args:
        table: the comparison.
        suite: name of the suite.
        metrics: names of metrics; ``None`` for all.
        where: further condition on rows.
    """
    return [
        row
        for row in table
        if row["suite"] == suite
        and (metrics is None or row["metric"] in metrics)
        and row["value"]
        and (where is None or where(row))
    ]


def wanted(table: Table, suite: str, metrics: Sequence[str], figure: str) -> Table:
    """Return the rows of metrics that a figure requires.

    Raises:
        ArtifactError: one of them has no rows.
    """
    need(table, "comparison")
    rows = select(table, suite, metrics)
    missing = [metric for metric in metrics if all(row["metric"] != metric for row in rows)]
    if missing:
        found = sorted({row["metric"] for row in table if row["suite"] == suite})
        raise ArtifactError(
            f"figure {figure}: the comparison has no value of {', '.join(missing)} of the suite {suite}",
            found=f"metrics {', '.join(found)}" if found else f"no row of the suite {suite}",
            expected=", ".join(metrics),
            mend=f"evaluate the suite {suite} again, or leave the figure out",
        )
    return rows


def whole(rows: Iterable[Row]) -> Table:
    """Drop languages and domains of test sets that have a row for the whole.

    The row of a test set with one language and domain counts as the whole, to match published rows that say no more.
    """
    keys = ("evaluation", "suite", "system", "origin", "dataset", "condition", "metric", "level")
    parts: dict[tuple[str, ...], Table] = {}
    for row in rows:
        parts.setdefault(tuple(row[k] for k in keys), []).append(row)
    found: Table = []
    for own in parts.values():
        complete = [row for row in own if (row["language"], row["domain"]) == (ALL, ALL)]
        if complete or len(own) > 1:
            found += complete or own
        else:
            found.append({**own[0], "language": ALL, "domain": ALL})
    return found


def by_language(rows: Table) -> Table:
    """Return the rows to draw by language; with only one language, that row is the whole."""
    places = {(row["language"], row["domain"]) for row in rows if row["origin"] != PUBLISHED}
    return whole(rows) if len(places) == 1 else rows


def evaluations(rows: Iterable[Row]) -> list[str]:
    """Return the evaluations of rows in their order."""
    return list(dict.fromkeys(row["evaluation"] for row in rows))


def groups_of(rows: Sequence[Row], fields: Sequence[str] = ("dataset", "condition", "language")) -> dict[str, Table]:
    """Group the rows of a panel.

    Args:
        rows: rows of one panel.
        fields: fields in which groups can differ; ``language`` includes the domain if there are several.

    Returns:
        Rows by the name of the group, which names only what differs; datasets and conditions in table order, the whole text
        before the languages, and these sorted.
    """
    domains = {row["domain"] for row in rows} - {ALL}

    def part(row: Row, field: str) -> str:
        if field != "language" or row["language"] == ALL:
            return row[field]
        return f"{row['language']}, {row['domain']}" if len(domains) > 1 and row["domain"] != ALL else row["language"]

    differing = [field for field in fields if len({part(row, field) for row in rows}) > 1]
    first = {field: list(dict.fromkeys(part(row, field) for row in rows)) for field in differing if field != "language"}

    def order(row: Row) -> tuple[object, ...]:
        places = tuple(first[field].index(part(row, field)) for field in differing if field != "language")
        return (*places, row["language"] != ALL, part(row, "language"))

    groups: dict[str, Table] = {}
    for row in sorted(rows, key=order):
        name = " · ".join(text for field in differing if (text := part(row, field)))
        groups.setdefault(name, []).append(row)
    return groups


def count_of(rows: Iterable[Row]) -> tuple[str, str]:
    """Return the number and kind of measured items, such as ``1,012`` and ``segments``; empty if unknown."""
    measured = [row for row in rows if row["n"] and row["origin"] != PUBLISHED]
    counts = sorted({int(float(row["n"])) for row in measured})
    items = {row["items"] for row in measured}
    if not counts:
        return "", ""
    numbers = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return numbers, items.pop() if len(items) == 1 else ""


def direction(rows: Iterable[Row]) -> str:
    """Return which values are better by the measured rows: ``less is better``, ``more is better`` or nothing."""
    better = {row["better"] for row in rows if row["better"] in ("lower", "higher") and row["origin"] != PUBLISHED}
    return {"lower": "less is better", "higher": "more is better"}[better.pop()] if len(better) == 1 else ""


def axis_label(rows: Sequence[Row], name: str) -> str:
    """Return an axis label: the quantity, its unit, and the better direction.

    The unit is left out if the name has it; the direction is on a second line.
    """
    measured = [row for row in rows if row["origin"] != PUBLISHED]
    units = {row["unit"] for row in measured or rows if row["unit"]}
    unit = units.pop() if len(units) == 1 else ""
    said = any(word in name for word in (" per ", " / ", "ratio", "×")) or unit == "share"
    shown = f"{name} [{unit}]" if unit and not said else name
    good = direction(rows)
    return f"{shown}\n({good})" if good else shown


def interval_of(row: Row, low: str = "ci_low", high: str = "ci_high") -> tuple[float, float]:
    """Return the bounds of a row's own interval, NaN if it has none."""
    return number(row[low]), number(row[high])


def errors_of(value: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return how far an interval extends below and above a value; 0 without an interval."""
    below, above = value - bounds[0], bounds[1] - value
    return max(0.0, np.nan_to_num(below)), max(0.0, np.nan_to_num(above))
