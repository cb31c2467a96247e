"""Figures of quality: language modeling, tasks, translation, generated text. All are drawn from the comparison."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tokalign.common.errors import ArtifactError
from tokalign.report.figures import names
from tokalign.report.figures.common import GRID, Row, Table, need
from tokalign.report.figures.panels import Panel, figure_of, legend, panel_of, titled
from tokalign.report.figures.systems import (
    axis_label,
    by_language,
    capital,
    count_of,
    errors_of,
    evaluations,
    groups_of,
    interval_of,
    key_of,
    number,
    select,
    systems_in,
    wanted,
    whole,
)


def metric_panels(rows: Table, metrics: tuple[str, ...], evaluation: str, several: bool) -> list[Panel]:
    """Return a panel for each metric with rows in an evaluation."""
    panels = []
    for metric in metrics:
        own = [row for row in rows if row["metric"] == metric and row["evaluation"] == evaluation]
        if own:
            name = names.METRICS[metric]
            panels.append(panel_of(titled(evaluation, several, capital(name)), own, name))
    return panels


def in_lines(panels: list[Panel], columns: int) -> list[list[Panel]]:
    """Lay panels out in lines of ``columns`` panels."""
    return [panels[i : i + columns] for i in range(0, len(panels), columns)]


def tokenizer_efficiency(comparison: Table) -> Figure:
    """Draw fertility, bytes per token, and words of several tokens and of one, by language.

    A bar per tokenizer.
    """
    metrics = (names.FERTILITY, names.BYTES_PER_TOKEN, names.CONTINUED_WORDS, names.SINGLE_TOKEN_WORDS)
    rows = by_language(wanted(comparison, "tokenizers", metrics, "tokenizer_efficiency"))
    blocks = evaluations(rows)
    lines = [line for name in blocks for line in in_lines(metric_panels(rows, metrics, name, len(blocks) > 1), 2)]
    return figure_of(lines, comparison)


def perplexity(comparison: Table) -> Figure:
    """Draw bits per byte and perplexity normalized to one tokenizer, by language.

    A bar per system.
    """
    metrics = (names.BITS_PER_BYTE, names.NORMALIZED_PERPLEXITY)
    rows = by_language(wanted(comparison, "perplexity", metrics, "perplexity"))
    blocks = evaluations(rows)
    lines = [metric_panels(rows, metrics, name, len(blocks) > 1) for name in blocks]
    for line in lines:
        for panel in line[1:]:
            panel.kind = "point"  # a bar has no start on a logarithmic scale
    return figure_of(lines, comparison)


def languages(comparison: Table) -> Figure:
    """Draw bits per byte by language, linking the source model with models adapted from it.

    A panel per source model.
    """
    rows = by_language(wanted(comparison, "perplexity", (names.BITS_PER_BYTE,), "languages"))
    shown = [row for row in rows if row["role"] in ("source", "adapted", "published")]
    panels = []
    for evaluation in evaluations(shown):
        own = [row for row in shown if row["evaluation"] == evaluation]
        for model in dict.fromkeys(row["model"] for row in own if row["role"] == "adapted"):
            of_model = [row for row in own if row["model"] == model or row["role"] == "published"]
            if any(row["role"] == "source" for row in of_model):
                panels.append((evaluation, model, of_model))
    if not panels:
        raise ArtifactError(
            "figure languages: the comparison has no adapted model beside its source model",
            found=f"roles {', '.join(sorted({row['role'] for row in rows}))} in the suite perplexity",
            expected="roles source and adapted",
            mend="add source and adapted to the checkpoints of perplexity",
        )
    systems = systems_in((row for _, _, own in panels for row in own), comparison)
    heights = [0.9 + 0.4 * len(groups_of(own)) for _, _, own in panels]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(6.4, sum(heights) + 0.25 + 0.1 * len(systems)),
        layout="constrained",
        squeeze=False,
        height_ratios=heights,
    )
    for place, (evaluation, model, own) in zip(axes[:, 0], panels, strict=True):
        groups = groups_of(own)
        for level, group in enumerate(groups.values()):
            drawn = sorted(group, key=lambda row: systems[key_of(row)].index)
            heights_of = np.linspace(level - 0.16, level + 0.16, len(drawn)) if len(drawn) > 1 else [level]
            place.plot([number(row["value"]) for row in drawn], heights_of, color="#999999", linewidth=1.5, zorder=1)
            for y, row in zip(heights_of, drawn, strict=True):
                value = number(row["value"])
                below, above = errors_of(value, interval_of(row))
                place.errorbar(value, y, xerr=[[below], [above]] if below + above else None, linestyle="none", markersize=7,
                               capsize=2, elinewidth=1, zorder=3, **systems[key_of(row)].point)  # fmt: skip
        counts = [count_of(group)[0] for group in groups.values()]
        place.set_yticks(range(len(groups)), [f"{name}\nn = {n}" if n else name for name, n in zip(groups, counts, strict=True)])
        place.set_ylim(len(groups) - 0.5, -0.5)
        place.margins(x=0.1)
        place.set_title(titled(evaluation, len(panels) > 1, f"{model}: held-out text by language"))
        place.set_xlabel(axis_label(own, names.METRICS[names.BITS_PER_BYTE]))
        place.grid(axis="x", **GRID)
    legend(figure, systems, "point", 6.4)
    return figure


def nlu_tasks(comparison: Table) -> Figure:
    """Draw accuracies of tasks and multiple-choice test sets; other metrics of tasks have separate panels.

    A dotted line marks the accuracy of guessing.
    """
    need(comparison, "comparison")
    rows = whole([*select(comparison, "tasks"), *select(comparison, "choices")])
    guessed = {
        (row["evaluation"], *key_of(row), row["dataset"], row["condition"]): number(row["value"])
        for row in rows
        if row["metric"] == names.CHANCE
    }

    def by_chance(row: Row) -> float:
        return guessed.get((row["evaluation"], *key_of(row), row["dataset"], row["condition"]), np.nan)

    blocks = evaluations(rows)
    panels = []
    for name in blocks:
        for suite, title in (("tasks", "Tasks of lm-evaluation-harness"), ("choices", "Multiple-choice questions")):
            own = [row for row in rows if (row["evaluation"], row["suite"]) == (name, suite) and row["metric"] != names.CHANCE]
            right = [row for row in own if names.is_accuracy(row["metric"])]
            if right:
                groups = groups_of(right, ("dataset", "condition", "metric", "language"))
                label = axis_label(right, "share of right answers")
                panels.append(Panel(titled(name, len(blocks) > 1, title), groups, label, reference=by_chance))
            for metric in dict.fromkeys(row["metric"] for row in own if not names.is_accuracy(row["metric"])):
                others = [row for row in own if row["metric"] == metric]
                shown = metric.replace("_", " ")
                panels.append(panel_of(titled(name, len(blocks) > 1, f"{title}: {shown}"), others, shown))
    if not panels:
        raise ArtifactError(
            "figure nlu_tasks: the comparison has no row of the suites tasks and choices",
            found="suites " + ", ".join(sorted({row["suite"] for row in comparison})),
            expected="tasks or choices",
            mend="evaluate one of them, or leave the figure out",
        )
    return figure_of(in_lines(panels, 1), comparison, width=6.4)


def equal_length(_: Row) -> float:
    """Return the length ratio of a translation as long as its reference."""
    return 1.0


def machine_translation(comparison: Table) -> Figure:
    """Draw BLEU, chrF++, TER, the length ratio and, if measured, COMET, by direction and decoding."""
    metrics = (names.BLEU, names.CHRF, names.TER, names.LENGTH_RATIO)
    rows = wanted(comparison, "translation", metrics, "machine_translation")
    rows = whole([*rows, *select(comparison, "translation", (names.COMET,))])
    rows = [row for row in rows if row["level"] != "item" or row["metric"] == names.COMET]
    blocks = evaluations(rows)
    lines = []
    for name in blocks:
        panels = metric_panels(rows, (*metrics, names.COMET), name, len(blocks) > 1)
        for panel in panels:
            if panel.groups and panel.rows[0]["metric"] == names.LENGTH_RATIO:
                panel.reference = equal_length
        lines += in_lines(panels, 2)
    return figure_of(lines, comparison)


def generation_quality(comparison: Table) -> Figure:
    """Draw distinct n-grams, repetition and Self-BLEU: a column of panels per decoding."""
    above, below = names.DISTINCT, (names.REPETITION, names.SELF_BLEU)
    rows = whole(wanted(comparison, "generation", (*above, *below), "generation_quality"))
    blocks = evaluations(rows)
    lines = []
    for name in blocks:
        own = [row for row in rows if row["evaluation"] == name]
        conditions = list(dict.fromkeys(row["condition"] for row in own))
        for metrics, title in ((above, "Distinct n-grams"), (below, "Repetition and Self-BLEU")):
            line = []
            for condition in conditions:
                shown = [dict(row) for row in own if row["condition"] == condition and row["metric"] in metrics]
                if not shown:
                    continue
                ordered = sorted(shown, key=lambda row: metrics.index(row["metric"]))
                named = [{**row, "metric": names.METRICS[row["metric"]]} for row in ordered]
                groups = groups_of(named, ("dataset", "metric", "language"))
                full = f"{title}, {condition}" if condition else title
                line.append(Panel(titled(name, len(blocks) > 1, full), groups, axis_label(shown, "share")))
            lines.append(line)
    return figure_of(lines, comparison, shared=True)
