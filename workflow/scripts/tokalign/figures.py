"""Figures, drawn from the tables only: the same tables give the same bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import ScalarFormatter

from tokalign.categories import CATEGORIES
from tokalign.errors import ArtefactError
from tokalign.files import atomic_file
from tokalign.tables import ALL, BLOCK, EXPERIMENT, FLOOR

log = logging.getLogger(__name__)

Table = list[dict[str, str]]

STYLE = {
    "svg.hashsalt": "tokalign",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
}
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito (2008): distinguishable with colour blindness."""
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "++", "oo", "**")
MOST_POINTS = 50
"""Above this many points a loss curve is also drawn as a running mean."""


def _need(table: Table, name: str) -> None:
    """Refuse an empty table."""
    if not table:
        raise ArtefactError(f"{name}: the table has no rows", expected="something to draw", mend="evaluate something first")


def _number(text: str) -> float:
    """Read a cell; an empty one is NaN."""
    return float(text) if text else np.nan


def group_names(table: Table) -> dict[tuple[str, str], str]:
    """Name the groups of a table: by language, with the domain where there are several; first the whole, then sorted."""
    keys = {(row["language"], row["domain"]) for row in table}
    domains = {domain for _, domain in keys} - {ALL}
    order = sorted(keys, key=lambda key: (key != (ALL, ALL), key))
    return {
        (language, domain): "all" if language == ALL else f"{language}, {domain}" if len(domains) > 1 else language
        for language, domain in order
    }


def compression(tokenizers: Table) -> Figure:
    """Draw bytes per token of each tokenizer, by language (of ``tokenizers.csv``), with 95 % intervals."""
    tokenizers = [row for row in tokenizers if row["bytes_per_token"]]  # a parallel test set has parity alone
    _need(tokenizers, "tokenizers")
    names = group_names(tokenizers)
    corpora = list(dict.fromkeys(row["corpus"] for row in tokenizers))
    series = list(dict.fromkeys((row["tokenizer"], row["corpus"]) for row in tokenizers))
    figure, axes = plt.subplots(figsize=(6.4, 1.4 + 0.34 * len(names)), layout="constrained")
    levels = {key: len(names) - 1 - i for i, key in enumerate(names)}
    values: dict[tuple[str, str], list[float]] = {key: [] for key in names}
    for number, (tokenizer, corpus) in enumerate(series):
        rows = [row for row in tokenizers if (row["tokenizer"], row["corpus"]) == (tokenizer, corpus)]
        x = np.array([_number(row["bytes_per_token"]) for row in rows])
        y = [levels[row["language"], row["domain"]] for row in rows]
        bounds = [np.array([_number(row[f"bytes_per_token_ci_{end}"]) for row in rows]) for end in ("low", "high")]
        for row, value in zip(rows, x, strict=True):
            values[row["language"], row["domain"]].append(value)
        label = tokenizer if len(corpora) == 1 else f"{tokenizer} on {corpus}"
        axes.errorbar(
            x, y, xerr=np.nan_to_num([x - bounds[0], bounds[1] - x]).clip(0), label=label, linestyle="none",
            marker=MARKERS[number % 8], color=PALETTE[number % 8], markersize=7, markeredgecolor="black",
            markeredgewidth=0.6, capsize=2, elinewidth=1, zorder=3,
        )  # fmt: skip
    for key, points in values.items():
        axes.hlines(levels[key], min(points), max(points), color="#999999", linewidth=1.5, zorder=1)
    axes.set_yticks(list(levels.values()), list(names.values()))
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(left=0)
    axes.set_xlabel("UTF-8 bytes per token (more: shorter sequences)")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def bits_per_byte(stages: Table) -> Figure:
    """Draw bits per byte along the stages (of ``bits_per_byte_by_language.csv``): a panel per experiment.

    Lines are languages, the thick one the whole; single markers are floors: other ways of initialising.
    """
    _need(stages, "bits per byte")
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
    shown = [_number(row[c]) for row in stages for c in (*columns, *floors) if row[c]]
    for panel, experiment in zip(panels.flat, experiments, strict=False):
        rows = [r for r in stages if tuple(r[k] for k in ("evaluation", "model", *EXPERIMENT)) == experiment]
        for row in sorted(rows, key=lambda r: (r["language"] == ALL, r["language"], r["domain"])):
            number = list(names).index((row["language"], row["domain"]))
            whole = row["language"] == ALL
            color = "black" if whole else PALETTE[(number - 1) % 7]
            line = {"color": color, "linewidth": 2.8 if whole else 1.2, "zorder": 4 if whole else 3}
            dashes = "-" if whole else DASHES[(number - 1) // 7 % 4]
            values = [_number(row[c]) for c in columns]
            panel.plot(columns, values, marker=MARKERS[number % 8], markersize=5, linestyle=dashes, **line)
            for f, floor in enumerate(floors if "initialised" in columns else ()):
                x = columns.index("initialised") + 0.14 * (f + 1)
                size = 70 if whole else 30
                panel.scatter(
                    [x], [_number(row[floor])], marker=MARKERS[-1 - f % 8], s=size, facecolor="white", edgecolor=color, zorder=5
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
    """Draw the training loss over tokens (of ``training.csv``), each stage behind the one before.

    The column ``tokens`` counts from the beginning of the recipe, over its stages. A dotted line stands where a stage
    has its first value.
    """
    _need(training, "training")
    run = ("model", "tokenizer", "corpus", "alignment", "recipe", "seed")
    runs = list(dict.fromkeys(tuple(row[k] for k in run) for row in training))
    varying = [k for k in run if len({row[k] for row in training}) > 1]
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    boundaries: dict[tuple[float, str], None] = {}
    for number, key in enumerate(runs):
        color, dashes = PALETTE[number % 6], DASHES[number // 6 % 4]
        label: str | None = " · ".join(f"{k} {dict(zip(run, key, strict=True))[k]}" for k in varying)
        own = [row for row in training if tuple(row[k] for k in run) == key and row["loss"]]
        for index, stage in enumerate(dict.fromkeys(row["stage"] for row in own)):
            x = np.array([_number(row["tokens"]) for row in own if row["stage"] == stage]) / 1e6
            y = np.array([_number(row["loss"]) for row in own if row["stage"] == stage])
            long = len(y) > MOST_POINTS
            axes.plot(x, y, color=color, linestyle=dashes, linewidth=0.8 if long else 1.6, alpha=0.35 if long else 1,
                      label=None if long else label)  # fmt: skip
            if long:
                span = max(3, len(y) // MOST_POINTS)
                mean = np.convolve(y, np.full(span, 1 / span), mode="valid")
                axes.plot(x[span - 1 :], mean, color=color, linestyle=dashes, linewidth=1.8, label=label)
            label = None
            if index:
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
    "flops_utilisation": ("share of the device's operations (%)", 100.0),
    "memory_bytes": ("peak memory (GB)", 1e-9),
}
"""What is drawn beside the loss: column of the table, title, and factor of the values."""


def training_progress(training: Table) -> Figure:
    """Draw what else was measured in training over tokens: a panel for each column of ``PROGRESS`` that has values."""
    _need(training, "training")
    run = ("model", "tokenizer", "corpus", "alignment", "recipe", "seed", "stage")
    runs = list(dict.fromkeys(tuple(row[k] for k in run) for row in training))
    varying = [k for k in run if len({row[k] for row in training}) > 1]
    names = [name for name in PROGRESS if any(row.get(name) for row in training)]
    if not names:
        raise ArtefactError("training: nothing was measured beside the loss", mend="train again with this version")
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.3 * rows + 0.4), layout="constrained", squeeze=False)
    for panel, name in zip(panels.flat, names, strict=False):
        title, factor = PROGRESS[name]
        for number, key in enumerate(runs):
            own = [row for row in training if tuple(row[k] for k in run) == key and row.get(name)]
            x = np.array([_number(row["tokens"]) for row in own]) / 1e6
            y = np.array([_number(row[name]) for row in own]) * factor
            panel.plot(x, y, color=PALETTE[number % 6], linestyle=DASHES[number // 6 % 4], linewidth=1.6,
                       marker=MARKERS[number % 8] if len(own) <= MOST_POINTS // 2 else None, markersize=3.5)  # fmt: skip
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


def _hatch(index: int) -> str:
    """Return a hatch that, with the colour of the same index, is given to one index below 64 only."""
    return HATCHES[(index + index // 8) % 8]


def _stack(axes: Axes, level: float, shares: Sequence[tuple[str, float]], order: Sequence[str]) -> None:
    """Draw one stacked bar of shares in percent, with the number in parts of five percent or more."""
    left = 0.0
    for category, share in shares:
        index = list(order).index(category)
        axes.barh(level, 100 * share, left=left, height=0.7, color=PALETTE[index % 8], hatch=_hatch(index),
                  edgecolor="white", linewidth=0.5)  # fmt: skip
        if share >= 0.05:
            axes.text(left + 50 * share, level, f"{100 * share:.0f}", ha="center", va="center", fontsize=8,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2})  # fmt: skip
        left += 100 * share


def alignment_categories(alignments: Table) -> Figure:
    """Draw how the rows of the target tokens were found (of ``alignments.csv``).

    Two bars per alignment: by share of the vocabulary, and by share of the corpus' tokens where it is known.
    """
    _need(alignments, "alignments")
    keys = ("source_tokenizer", "tokenizer", "corpus", "alignment")
    varying = [k for k in keys[:3] if len({row[k] for row in alignments}) > 1]
    present = {row["category"] for row in alignments if int(row["tokens"])}
    order = [*CATEGORIES, *sorted(present - set(CATEGORIES))]
    bars = []
    for key in dict.fromkeys(tuple(row[k] for k in keys) for row in alignments):
        rows = [row for row in alignments if tuple(row[k] for k in keys) == key]
        rows.sort(key=lambda row: order.index(row["category"]) if row["category"] in order else 0)
        rows = [row for row in rows if row["category"] in present]
        name = " · ".join([*(v for k, v in zip(keys, key, strict=True) if k in varying), key[3] or "alignment"])
        bars.append((f"{name}\nvocabulary", [(row["category"], _number(row["share"])) for row in rows]))
        if all(row["corpus_share"] for row in rows):
            bars.append((f"{name}\ncorpus tokens", [(row["category"], _number(row["corpus_share"])) for row in rows]))
    figure, axes = plt.subplots(figsize=(7.2, 1.3 + 0.5 * len(bars)), layout="constrained")
    for level, (_, shares) in enumerate(bars):
        _stack(axes, len(bars) - 1 - level, shares, order)
    axes.set_yticks(range(len(bars) - 1, -1, -1), [name for name, _ in bars])
    axes.set_xlim(0, 100)
    axes.set_xlabel("share (%)")
    handles = [
        Patch(facecolor=PALETTE[i % 8], hatch=_hatch(i), edgecolor="white", label=category)
        for i, category in enumerate(order) if category in present
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


FIGURES: dict[str, Callable[[Table], Figure]] = {
    "compression": compression,
    "bits-per-byte": bits_per_byte,
    "loss": loss_curves,
    "progress": training_progress,
    "alignment": alignment_categories,
}
"""The function that draws each figure from its table."""


def draw(name: str, table: Table, outputs: Sequence[str | Path]) -> None:
    """Draw a figure of ``FIGURES`` into files, in the format that their suffix names (``.svg``, ``.png``).

    Raises:
        ArtefactError: the table has no rows.
    """
    with plt.rc_context({**matplotlib.rcParamsDefault, **STYLE, "backend": "Agg"}):
        figure = FIGURES[name](table)
        for output in map(Path, outputs):
            kind = output.suffix.removeprefix(".")
            with atomic_file(output) as partial:
                figure.savefig(partial, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
            log.info("%s: drawn", output)
        plt.close(figure)
