"""Tables of the comparison: everything in one long table, and the main results side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokalign.evaluation.columns import ALL, COLUMNS, GROUP, LABELS

Row = dict[str, Any]

CRITERIA = ("evaluation", "criterion", "suite", "system", *GROUP, "metric", "baseline_value", "value", "unit", "loss", "limit", "kind", "passed", "certain")  # fmt: skip
SEEDS = ("evaluation", "suite", *(label for label in LABELS if label != "seed"), *GROUP, "metric", "level", "mean", "deviation", "low", "high", "seeds")  # fmt: skip
RUNS = ("evaluation", "suite", *LABELS, "role", "seconds", "device", "precision", "exploratory", "model_sha256", "data_sha256")
SIDE_BY_SIDE = ("evaluation", "suite", "dataset", "condition", "language", "metric", "unit", "level", "better", "n", "items")
SIGNS = {"better": "+", "worse": "-", "no difference": "="}
"""Sign after a value: significantly better or worse than the source model after correction, or neither."""


def comparison_rows(comparisons: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Row]]:
    """Return the long table: a row per system, metric and group."""
    return list(COLUMNS), [row for comparison in comparisons for row in comparison["rows"]]


def criteria_rows(comparisons: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Row]]:
    """Return the success criteria and their outcomes."""
    rows = [{"evaluation": c["evaluation"], **row} for c in comparisons for row in c["criteria"]]
    words = {True: "yes", False: "no", None: None}
    return list(CRITERIA), [{**row, "passed": words[row["passed"]], "certain": words[row["certain"]]} for row in rows]


def seed_rows(comparisons: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Row]]:
    """Return mean and deviation over seeds."""
    return list(SEEDS), [row for comparison in comparisons for row in comparison["seeds"]]


def run_rows(comparisons: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Row]]:
    """Return how each result was made, and the seconds it took."""
    rows = []
    for comparison in comparisons:
        for run in comparison["runs"]:
            digests = run["digests"] or {}
            rows.append(
                {
                    "evaluation": comparison["evaluation"],
                    **run["labels"],
                    **{k: run[k] for k in RUNS if k in run},
                    "model_sha256": (digests.get("model") or "")[:12],
                    "data_sha256": (digests.get("data") or "")[:12],
                    "exploratory": "yes" if run["exploratory"] else None,
                }
            )
    return list(RUNS), rows


def whole(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of each data set and condition as a whole.

    These have language and domain ``all``, or are the only group.
    """
    place = ("evaluation", "suite", "dataset", "condition", "origin")  # a published row hides no measured one
    summed = {tuple(row[key] for key in place) for row in rows if row["language"] == ALL}
    return [row for row in rows if row["language"] == ALL or tuple(row[key] for key in place) not in summed]


def _place(row: Row, table: Mapping[tuple[Any, ...], Row]) -> tuple[Any, ...]:
    """Return the table line of a row; a published row joins the measured line it matches.

    Published rows rarely state the level of a metric, and may leave out the only language.
    """
    key = tuple(row.get(name) for name in SIDE_BY_SIDE[:8])
    if row["origin"] != "published" or key in table:
        return key

    def same(other: tuple[Any, ...]) -> bool:
        evaluation, suite, dataset, condition, language, metric, unit, level = key
        return (
            other[:4] == (evaluation, suite, dataset, condition)
            and other[5] == metric
            and language in (ALL, other[4])
            and unit in (None, other[6])
            and level in (None, other[7])
        )

    found = [other for other in table if same(other)]
    return found[0] if len(found) == 1 else key


def value_text(row: Mapping[str, Any]) -> str:
    """Format a value with its interval and sign: ``1.25 [1.2, 1.3] -``."""
    text = f"{row['value']:.4g}"
    if row.get("ci_low") is not None:
        text += f" [{row['ci_low']:.4g}, {row['ci_high']:.4g}]"
    return f"{text} {SIGNS[row['verdict']]}" if row.get("verdict") else text


def side_by_side(comparisons: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Row]]:
    """Return the table to read first: a row per metric, a column per system.

    Each metric is of a whole data set; cells hold intervals, and a column ``n``.
    """
    systems: dict[str, None] = {}
    table: dict[tuple[Any, ...], Row] = {}
    for comparison in comparisons:
        for row in whole([row for row in comparison["rows"] if row["value"] is not None]):
            key = _place(row, table)
            own = table.setdefault(key, {name: row.get(name) for name in SIDE_BY_SIDE})
            if own["n"] != row.get("n") and row["origin"] == "measured":
                own["n"] = max(own["n"] or 0, row.get("n") or 0)
            own[row["system"]] = value_text(row)
            systems[row["system"]] = None
    return [*SIDE_BY_SIDE, *systems], list(table.values())
