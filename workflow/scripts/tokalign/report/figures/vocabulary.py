"""Figures of tokenizers and alignments: compression, efficiency, and how rows were found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tokalign.alignment.categories import CATEGORIES
from tokalign.report.figures.common import MARKERS, PALETTE, Table, group_names, hatch_of, need, number


def compression(tokenizers: Table) -> Figure:
    """Draw bytes per token of each tokenizer, by language (of ``tokenizers.csv``), with 95 % intervals."""
    tokenizers = [row for row in tokenizers if row["bytes_per_token"]]  # a parallel test set has only parity
    need(tokenizers, "tokenizers")
    names = group_names(tokenizers)
    corpora = list(dict.fromkeys(row["corpus"] for row in tokenizers))
    series = list(dict.fromkeys((row["tokenizer"], row["corpus"]) for row in tokenizers))
    figure, axes = plt.subplots(figsize=(6.4, 1.4 + 0.34 * len(names)), layout="constrained")
    levels = {key: len(names) - 1 - i for i, key in enumerate(names)}
    values: dict[tuple[str, str], list[float]] = {key: [] for key in names}
    for index, (tokenizer, corpus) in enumerate(series):
        rows = [row for row in tokenizers if (row["tokenizer"], row["corpus"]) == (tokenizer, corpus)]
        x = np.array([number(row["bytes_per_token"]) for row in rows])
        y = [levels[row["language"], row["domain"]] for row in rows]
        bounds = [np.array([number(row[f"bytes_per_token_ci_{end}"]) for row in rows]) for end in ("low", "high")]
        for row, value in zip(rows, x, strict=True):
            values[row["language"], row["domain"]].append(value)
        label = tokenizer if len(corpora) == 1 else f"{tokenizer} on {corpus}"
        axes.errorbar(
            x, y, xerr=np.nan_to_num([x - bounds[0], bounds[1] - x]).clip(0), label=label, linestyle="none",
            marker=MARKERS[index % 8], color=PALETTE[index % 8], markersize=7, markeredgecolor="black",
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


def _stack(axes: Axes, level: float, shares: Sequence[tuple[str, float]], order: Sequence[str]) -> None:
    """Draw one stacked bar of shares in percent, with numbers in parts of at least five percent."""
    left = 0.0
    for category, share in shares:
        index = list(order).index(category)
        axes.barh(level, 100 * share, left=left, height=0.7, color=PALETTE[index % 8], hatch=hatch_of(index),
                  edgecolor="white", linewidth=0.5)  # fmt: skip
        if share >= 0.05:
            axes.text(left + 50 * share, level, f"{100 * share:.0f}", ha="center", va="center", fontsize=8,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2})  # fmt: skip
        left += 100 * share


def alignment_categories(alignments: Table) -> Figure:
    """Draw how the rows of target tokens were found (of ``alignments.csv``).

    Two bars per alignment: by share of the vocabulary, and by share of the corpus's tokens if known.
    """
    need(alignments, "alignments")
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
        bars.append((f"{name}\nvocabulary", [(row["category"], number(row["share"])) for row in rows]))
        if all(row["corpus_share"] for row in rows):
            bars.append((f"{name}\ncorpus tokens", [(row["category"], number(row["corpus_share"])) for row in rows]))
    figure, axes = plt.subplots(figsize=(7.2, 1.3 + 0.5 * len(bars)), layout="constrained")
    for level, (_, shares) in enumerate(bars):
        _stack(axes, len(bars) - 1 - level, shares, order)
    axes.set_yticks(range(len(bars) - 1, -1, -1), [name for name, _ in bars])
    axes.set_xlim(0, 100)
    axes.set_xlabel("share (%)")
    handles = [
        Patch(facecolor=PALETTE[i % 8], hatch=hatch_of(i), edgecolor="white", label=category)
        for i, category in enumerate(order) if category in present
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure
