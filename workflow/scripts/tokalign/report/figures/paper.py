"""The four figures of the paper of tokalign-baseline, from measured numbers alone."""

from __future__ import annotations

from matplotlib.figure import Figure

from tokalign.common.errors import ArtifactError
from tokalign.report.figures import names
from tokalign.report.figures.common import Row, Table, number
from tokalign.report.figures.panels import Panel, figure_of, panel_of, titled
from tokalign.report.figures.quality import metric_panels
from tokalign.report.figures.systems import axis_label, evaluations, groups_of, key_of, of_models, select, wanted, whole


def _titles(evaluation: str, several: bool, *titles: str) -> list[str]:
    return [titled(evaluation, several, title) for title in titles]


def _of(rows: Table, evaluation: str) -> Table:
    return [row for row in rows if row["evaluation"] == evaluation]


def of_source(row: Row) -> float:
    """Return the value of the source model."""
    return number(row["baseline_value"])


def fertility_trap(comparison: Table) -> Figure:
    """Draw a tokenizer's savings, their effect on speed, and chrF++ scaled by speed: three panels per evaluation.

    Lines in the third panel are the chrF++ of the source model, which is its chrF-E.
    """
    fertility = of_models(whole(wanted(comparison, "tokenizers", (names.FERTILITY,), "fertility_trap")), comparison)
    speed = whole(wanted(comparison, "efficiency", (names.WRITTEN_BYTES,), "fertility_trap"))
    scaled = whole(wanted(comparison, "composite", (names.CHRF_E,), "fertility_trap"))
    blocks = evaluations(scaled)
    lines = []
    for name in blocks:
        titles = _titles(name, len(blocks) > 1, "Fertility", "Throughput", "chrF-E (exploratory)")
        own = _of(scaled, name)
        shown = {key_of(row) for row in _of(speed, name)}
        lines.append(
            [
                panel_of(
                    titles[0], [row for row in _of(fertility, name) if key_of(row) in shown], names.METRICS[names.FERTILITY]
                ),
                panel_of(titles[1], _of(speed, name), names.METRICS[names.WRITTEN_BYTES]),
                panel_of(titles[2], own, names.METRICS[names.CHRF_E], reference=of_source),
            ]
        )
    return figure_of([[panel for panel in line if panel.groups] for line in lines], comparison)


def relative(row: Row) -> float:
    """Return the difference to the source model in percent of its value."""
    return 100 * number(row["difference"]) / abs(number(row["baseline_value"]))


def relative_interval(row: Row) -> tuple[float, float]:
    """Return the interval of the difference in percent of the source model's value."""
    base = abs(number(row["baseline_value"]))
    return 100 * number(row["difference_ci_low"]) / base, 100 * number(row["difference_ci_high"]) / base


def metric_disagreement(comparison: Table) -> Figure:
    """Draw the change of BLEU, COMET, chrF++ and TER against the source model.

    A panel per direction and decoding.
    """
    needed = (names.BLEU, names.CHRF, names.TER)
    rows = whole(
        [*wanted(comparison, "translation", needed, "metric_disagreement"), *select(comparison, "translation", (names.COMET,))]
    )
    rows = [row for row in rows if row["difference"] and number(row["baseline_value"])]
    if not rows:
        raise ArtifactError(
            "figure metric_disagreement: no translation is compared with that of the source model",
            expected="rows with difference and baseline_value",
            mend="add source and adapted to the checkpoints of translation",
        )
    blocks = evaluations(rows)
    panels = []
    order = (names.BLEU, names.COMET, names.CHRF, names.TER)
    good = {"lower": "less", "higher": "more"}
    for name in blocks:
        own = _of(rows, name)
        for dataset, condition in dict.fromkeys((row["dataset"], row["condition"]) for row in own):
            shown = [row for row in own if (row["dataset"], row["condition"]) == (dataset, condition)]
            shown = [row for row in shown if row["level"] == "corpus" or row["metric"] == names.COMET]
            groups: dict[str, Table] = {}
            for metric in order:
                for row in shown:
                    if row["metric"] == metric:
                        better = good.get(row["better"])
                        label = f"{names.METRICS[metric]}\n({better} is better)" if better else names.METRICS[metric]
                        groups.setdefault(label, []).append(row)
            title = ", ".join(filter(None, (dataset, condition)))
            panels.append(
                Panel(titled(name, len(blocks) > 1, title), groups, "change against the source model (%)",
                      value=relative, bounds=relative_interval)
            )  # fmt: skip
    return figure_of([panels[i : i + 2] for i in range(0, len(panels), 2)], comparison, width=4.4)


def chrf_delta_interval(comparison: Table) -> Figure:
    """Draw chrF-Δ of the whole text and, if available, its mean over segments, each with its interval."""
    rows = whole(wanted_delta(comparison))
    blocks = evaluations(rows)
    titles = {"corpus": "of the whole text", "exploratory": "of the whole text", "item": "mean over segments"}
    lines = []
    for name in blocks:
        own = _of(rows, name)
        line = []
        for level in dict.fromkeys(row["level"] for row in own):
            shown = [row for row in own if row["level"] == level]
            title = titled(name, len(blocks) > 1, f"chrF-Δ: {titles.get(level, level)}")
            line.append(Panel(title, groups_of(shown), axis_label(shown, names.METRICS[names.CHRF_DELTA]), kind="point"))
        lines.append(line)
    return figure_of(lines, comparison, width=4.4)


def wanted_delta(comparison: Table) -> Table:
    """Return the rows of chrF-Δ, from the suite that measured it."""
    suite = "composite" if select(comparison, "composite", (names.CHRF_DELTA,)) else "translation"
    return wanted(comparison, suite, (names.CHRF_DELTA,), "chrf_delta_interval")


def paper_summary(comparison: Table) -> Figure:
    """Draw fertility, bits per byte, chrF++ and throughput in bytes, in a 2 x 2 grid per evaluation."""
    fertility = of_models(whole(wanted(comparison, "tokenizers", (names.FERTILITY,), "paper_summary")), comparison)
    losses = whole(wanted(comparison, "perplexity", (names.BITS_PER_BYTE,), "paper_summary"))
    scores = whole(wanted(comparison, "translation", (names.CHRF,), "paper_summary"))
    scores = [row for row in scores if row["level"] != "item"]
    speed = whole(wanted(comparison, "efficiency", (names.WRITTEN_BYTES,), "paper_summary"))
    blocks = [name for name in evaluations(losses) if _of(scores, name) and _of(speed, name)]
    lines = []
    for name in blocks:
        shown = {key_of(row) for rows in (losses, scores, speed) for row in _of(rows, name)}
        own = [row for row in fertility if key_of(row) in shown]
        pairs = ((own, names.FERTILITY), (losses, names.BITS_PER_BYTE)), ((scores, names.CHRF), (speed, names.WRITTEN_BYTES))
        for pair in pairs:
            lines.append([panel for rows, metric in pair for panel in metric_panels(rows, (metric,), name, len(blocks) > 1)])
    return figure_of(lines, comparison)
