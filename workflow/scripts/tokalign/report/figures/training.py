"""Figures of the training: loss, other logged values, and bits per byte along the stages."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter

from tokalign.common.errors import ArtifactError
from tokalign.evaluation.columns import ALL
from tokalign.report.figures.common import DASHES, MARKERS, PALETTE, Table, group_names, need, number
from tokalign.report.tables.results import BLOCK, EXPERIMENT, FLOOR

MOST_POINTS = 50
"""Number of points above which a loss curve also has a running mean."""


def bits_per_byte(stages: Table) -> Figure:
    """Draw bits per byte along the stages (of ``bits_per_byte_by_language.csv``): a panel per experiment.

    Lines are languages, the thick one is the whole; single markers are baselines: other initializations.
    """
    need(stages, "bits per byte")
    names = group_names(stages)
    experiments = list(dict.fromkeys(tuple(row[k] for k in ("evaluation", "model", *EXPERIMENT)) for row in stages))
    floors = [column for column in stages[0] if column.startswith(FLOOR)]
    fixed = {*BLOCK, *EXPERIMENT, *floors}
    columns = [column for column in stages[0] if column not in fixed and any(row[column] for row in stages)]
    width = min(2, len(experiments))
    height = -(-len(experiments) // width)
    figure, panels = plt.subplots(
        height, width, figsize=(1.6 + 4.8 * width, 0.6 + 3.8 * height), layout="constrained", squeeze=False, sharey=True
    )
    shown = [number(row[c]) for row in stages for c in (*columns, *floors) if row[c]]
    for panel, experiment in zip(panels.flat, experiments, strict=False):
        rows = [r for r in stages if tuple(r[k] for k in ("evaluation", "model", *EXPERIMENT)) == experiment]
        for row in sorted(rows, key=lambda r: (r["language"] == ALL, r["language"], r["domain"])):
            index = list(names).index((row["language"], row["domain"]))
            whole = row["language"] == ALL
            color = "black" if whole else PALETTE[(index - 1) % 7]
            line = {"color": color, "linewidth": 2.8 if whole else 1.2, "zorder": 4 if whole else 3}
            dashes = "-" if whole else DASHES[(index - 1) // 7 % 4]
            values = [number(row[c]) for c in columns]
            panel.plot(columns, values, marker=MARKERS[index % 8], markersize=5, linestyle=dashes, **line)
            for f, floor in enumerate(floors if "initialized" in columns else ()):
                x = columns.index("initialized") + 0.14 * (f + 1)
                size = 70 if whole else 30
                panel.scatter(
                    [x], [number(row[floor])], marker=MARKERS[-1 - f % 8], s=size, facecolor="white", edgecolor=color, zorder=5
                )
        _, model, tokenizer, corpus, alignment, recipe, seed = experiment
        parts = [model, tokenizer, corpus, alignment, recipe, f"seed {seed}" if seed else ""]
        panel.set_title(" · ".join(part for part in parts if part), wrap=True)
        panel.set_ylabel("bits per byte of held-out text")
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        if max(shown) > 6 * min(shown):
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(ScalarFormatter())
            panel.yaxis.set_minor_formatter(ScalarFormatter())
        else:
            panel.set_ylim(bottom=0)
    for panel in panels.flat[len(experiments) :]:
        panel.set_axis_off()
    handles = [
        Line2D([], [], color="black" if key[0] == ALL else PALETTE[(i - 1) % 7], linewidth=2.8 if key[0] == ALL else 1.2,
               marker=MARKERS[i % 8], markersize=5, linestyle="-" if key[0] == ALL else DASHES[(i - 1) // 7 % 4], label=name)
        for i, (key, name) in enumerate(names.items())
    ]  # fmt: skip
    handles += [
        Line2D([], [], marker=MARKERS[-1 - f % 8], linestyle="none", markerfacecolor="white", markeredgecolor="black",
               label=f"floor: {floor.removeprefix(FLOOR)}")
        for f, floor in enumerate(floors)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def loss_curves(training: Table) -> Figure:
    """Draw the training loss over tokens (of ``training.csv``), each stage after the one before.

    The column ``tokens`` counts from the beginning of the recipe across its stages. A dotted line marks the first value of a
    stage.
    """
    need(training, "training")
    run = ("model", "tokenizer", "corpus", "alignment", "recipe", "seed")
    runs = list(dict.fromkeys(tuple(row[k] for k in run) for row in training))
    varying = [k for k in run if len({row[k] for row in training}) > 1]
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    boundaries: dict[tuple[float, str], None] = {}
    for index, key in enumerate(runs):
        color, dashes = PALETTE[index % 6], DASHES[index // 6 % 4]
        label: str | None = " · ".join(f"{k} {dict(zip(run, key, strict=True))[k]}" for k in varying)
        own = [row for row in training if tuple(row[k] for k in run) == key and row["loss"]]
        for part, stage in enumerate(dict.fromkeys(row["stage"] for row in own)):
            x = np.array([number(row["tokens"]) for row in own if row["stage"] == stage]) / 1e6
            y = np.array([number(row["loss"]) for row in own if row["stage"] == stage])
            long = len(y) > MOST_POINTS
            axes.plot(x, y, color=color, linestyle=dashes, linewidth=0.8 if long else 1.6, alpha=0.35 if long else 1,
                      label=None if long else label)  # fmt: skip
            if long:
                span = max(3, len(y) // MOST_POINTS)
                mean = np.convolve(y, np.full(span, 1 / span), mode="valid")
                axes.plot(x[span - 1 :], mean, color=color, linestyle=dashes, linewidth=1.8, label=label)
            label = None
            if part:
                boundaries[float(x[0]), stage] = None
    for boundary, stage in boundaries:
        axes.axvline(boundary, color="#777777", linestyle=":", linewidth=1)
        axes.annotate(stage, (boundary, 1), xycoords=("data", "axes fraction"), xytext=(3, -9), textcoords="offset points",
                      color="#555555", fontsize=8)  # fmt: skip
    axes.set_xlabel("training tokens of the new tokenizer (millions)")
    axes.set_ylabel("training loss (nats per token)")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    if varying:
        axes.legend()
    return figure


PROGRESS = {
    "heldout_bits_per_byte": ("held-out bits per byte", 1.0),
    "learning_rate": ("learning rate", 1.0),
    "bytes_per_second": ("thousand bytes of text per second", 1e-3),
    "flops_utilization": ("share of the device's operations (%)", 100.0),
    "memory_bytes": ("peak memory (GB)", 1e-9),
}
"""Values drawn beside the loss: column of the table, title, and factor."""


def training_progress(training: Table) -> Figure:
    """Draw other measurements of the training over tokens: a panel per column of ``PROGRESS`` with values."""
    need(training, "training")
    run = ("model", "tokenizer", "corpus", "alignment", "recipe", "seed", "stage")
    runs = list(dict.fromkeys(tuple(row[k] for k in run) for row in training))
    varying = [k for k in run if len({row[k] for row in training}) > 1]
    names = [name for name in PROGRESS if any(row.get(name) for row in training)]
    if not names:
        raise ArtifactError("training: nothing was measured beside the loss", mend="train again with this version")
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.3 * rows + 0.4), layout="constrained", squeeze=False)
    for panel, name in zip(panels.flat, names, strict=False):
        title, factor = PROGRESS[name]
        for index, key in enumerate(runs):
            own = [row for row in training if tuple(row[k] for k in run) == key and row.get(name)]
            x = np.array([number(row["tokens"]) for row in own]) / 1e6
            y = np.array([number(row[name]) for row in own]) * factor
            panel.plot(x, y, color=PALETTE[index % 6], linestyle=DASHES[index // 6 % 4], linewidth=1.6,
                       marker=MARKERS[index % 8] if len(own) <= MOST_POINTS // 2 else None, markersize=3.5)  # fmt: skip
        panel.set_title(title)
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        if name != "learning_rate" and name != "heldout_bits_per_byte":
            panel.set_ylim(bottom=0)
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    for panel in panels[-1]:
        panel.set_xlabel("training tokens (millions)")
    if varying:
        handles = [
            Line2D([], [], color=PALETTE[i % 6], linestyle=DASHES[i // 6 % 4], marker=MARKERS[i % 8], markersize=3.5,
                   label=" · ".join(str(dict(zip(run, key, strict=True))[k]) for k in varying))
            for i, key in enumerate(runs)
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
    return figure
