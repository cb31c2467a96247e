"""The summary radar: measured ratios of an adapted model to its source model."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tokalign.common.errors import ArtifactError
from tokalign.report.figures import names
from tokalign.report.figures.common import Row, Table, need, number
from tokalign.report.figures.panels import legend, titled
from tokalign.report.figures.speed import accuracies
from tokalign.report.figures.systems import Key, evaluations, key_of, select, systems_in, whole

FEWEST_AXES = 3


@dataclass(frozen=True)
class Axis:
    """An axis of the radar.

    Attributes:
        label: quantity that is compared.
        suites: suites whose rows it reads.
        metrics: names of the metrics; of accuracies, one per task.
        inverse: whether less is better, so that the ratio is source / model.
    """

    label: str
    suites: tuple[str, ...]
    metrics: tuple[str, ...]
    inverse: bool = False


ACCURACY = "accuracy"
AXES = (
    Axis("bytes per token", ("tokenizers",), (names.BYTES_PER_TOKEN,)),
    Axis("bits per byte", ("perplexity",), (names.BITS_PER_BYTE,), inverse=True),
    Axis(ACCURACY, ("tasks", "choices"), ()),
    Axis("chrF++", ("translation",), (names.CHRF,)),
    Axis("bytes read per second", ("efficiency",), (names.READ_BYTES,)),
    Axis("bytes written per second", ("efficiency",), (names.WRITTEN_BYTES,)),
    Axis("peak memory", ("efficiency",), (names.PEAK_MEMORY,), inverse=True),
)


def ratios(comparison: Table, axis: Axis, evaluation: str, heads: dict[Key, Row]) -> dict[Key, list[float]]:
    """Return the measured ratios to the source model on an axis.

    One per test set and condition; above 1 is better.

    Args:
        comparison: the table.
        axis: quantity that is compared.
        evaluation: name of the evaluation.
        heads: one row of each shown system.
    """
    if axis.label == ACCURACY:
        rows = accuracies(comparison)
    else:
        rows = whole([row for suite in axis.suites for row in select(comparison, suite, axis.metrics)])
    rows = [row for row in rows if row["evaluation"] == evaluation]
    found: dict[Key, list[float]] = {}
    for key, head in heads.items():
        if axis.suites == ("tokenizers",):
            pairs = _tokenizer_pairs(rows, comparison, head)
        else:
            own = [row for row in rows if key_of(row) == key and row["baseline_value"]]
            pairs = [(number(row["value"]), number(row["baseline_value"])) for row in own]
        if pairs and all(value > 0 and base > 0 for value, base in pairs):
            found[key] = [base / value if axis.inverse else value / base for value, base in pairs]
    return found


def _tokenizer_pairs(rows: Table, comparison: Table, head: Row) -> list[tuple[float, float]]:
    """Return the values of a system's tokenizer and of its source model's tokenizer."""
    source = next((row["tokenizer"] for row in comparison if row["role"] == "source" and row["model"] == head["model"]), "")
    values = {row["tokenizer"] or row["system"]: number(row["value"]) for row in rows if row["origin"] == "measured"}
    return [(values[head["tokenizer"]], values[source])] if head["tokenizer"] in values and source in values else []


def summary_radar(comparison: Table) -> Figure:
    """Draw ratios of each adapted model to its source model, with an axis per quantity measured on both.

    With several test sets or conditions, the axis shows the geometric mean of their ratios and gives their number.
    """
    need(comparison, "comparison")
    plots = []
    blocks = evaluations(row for row in comparison if row["role"] == "adapted")
    for name in blocks:
        heads: dict[Key, Row] = {}
        for row in comparison:
            if row["evaluation"] == name and row["role"] == "adapted" and row["origin"] == "measured":
                heads.setdefault(key_of(row), row)
        measured = [(axis, ratios(comparison, axis, name, heads)) for axis in AXES]
        common = [(axis, values) for axis, values in measured if heads and set(values) == set(heads)]
        if len(common) >= FEWEST_AXES:
            plots.append((name, heads, common))
    if not plots:
        raise ArtifactError(
            "figure summary_radar: too little was measured on both adapted and source models",
            found=", ".join(sorted({row["suite"] for row in comparison if row["baseline_value"]}))
            or "no row with baseline_value",
            expected=f"at least {FEWEST_AXES} of: " + ", ".join(axis.label for axis in AXES),
            mend="add source and adapted to the checkpoints of the suites, or leave the figure out",
        )
    shown = systems_in((row for _, heads, _ in plots for row in heads.values()), comparison)
    width = 7.0 * min(2, len(plots))
    lines = -(-len(plots) // 2)
    figure, axes = plt.subplots(
        lines, min(2, len(plots)), figsize=(width, 5.0 * lines), layout="constrained", squeeze=False,
        subplot_kw={"projection": "polar"},
    )  # fmt: skip
    figure.get_layout_engine().set(w_pad=0.25, wspace=0.1)
    for place in axes.flat[len(plots) :]:
        place.set_axis_off()
    for place, (name, heads, common) in zip(axes.flat, plots, strict=False):
        angles = np.linspace(0, 2 * np.pi, len(common), endpoint=False)
        closed = np.append(angles, angles[0])
        place.set_theta_offset(np.pi / 2)
        place.set_theta_direction(-1)
        place.plot(np.linspace(0, 2 * np.pi, 361), np.ones(361), color="#444444", linewidth=2.2, zorder=2)
        highest = 1.0
        for key in heads:
            system = shown[key]
            values = [float(np.exp(np.mean(np.log(own[key])))) for _, own in common]
            highest = max(highest, *values)
            options = {k: v for k, v in system.point.items() if k != "ecolor"}
            place.plot(closed, [*values, values[0]], color=system.color, linestyle=system.dashes, linewidth=1.8, markersize=6,
                       zorder=3, **options)  # fmt: skip
        labels = []
        for axis, own in common:
            count = max(len(values) for values in own.values())
            text = f"{axis.label}: {'source / model' if axis.inverse else 'model / source'}"
            labels.append(textwrap.fill(f"{text}, mean of {count}" if count > 1 else text, 20))
        place.set_ylim(0, highest * 1.08)
        place.set_xticks(angles, [""] * len(angles))
        for angle, label in zip(angles, labels, strict=True):
            side = np.sin(angle)
            place.text(angle, highest * 1.16, label, ha="center" if abs(side) < 0.2 else "left" if side > 0 else "right",
                       va="bottom" if np.cos(angle) > 0.8 else "top" if np.cos(angle) < -0.8 else "center")  # fmt: skip
        place.set_rlabel_position(180 / len(common))
        place.tick_params(axis="y", labelsize=8)
        place.set_title(titled(name, len(plots) > 1, "Thick circle: source model (1.0); outside is better"), pad=48, loc="center")
    legend(figure, shown, "line", width)
    return figure
