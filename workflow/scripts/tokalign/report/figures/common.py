"""Shared parts of all figures: style, and reading of cells."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import numpy as np

from tokalign.common.errors import ArtifactError
from tokalign.evaluation.columns import ALL

Table = list[dict[str, str]]
Row = dict[str, str]

STYLE = {
    "svg.hashsalt": "tokalign",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "hatch.linewidth": 0.7,
    "figure.dpi": 100,
    "savefig.dpi": 150,
}
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00", "#000000")
"""Okabe and Ito (2008): distinguishable for color-blind readers."""
LIGHT = ("#E69F00", "#56B4E9", "#8C7A00")
"""Colors of this palette on which hatches are dark."""
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "++", "oo", "**")
GRID = {"color": "#dddddd", "linewidth": 0.6}


def need(table: Table, name: str) -> None:
    """Raise an error if the table is empty."""
    if not table:
        raise ArtifactError(f"{name}: the table has no rows", expected="something to draw", mend="evaluate something first")


def number(text: str) -> float:
    """Return the number in a cell; NaN if it is empty."""
    return float(text) if text else np.nan


def hatch_of(index: int) -> str:
    """Return a hatch; together with the color of the same index it is unique below index 64."""
    return HATCHES[(index + index // 8) % 8]


def group_names(table: Table) -> dict[tuple[str, str], str]:
    """Name the groups of a table by language, and by domain if there are several.

    The whole comes first, the others are sorted.
    """
    keys = {(row["language"], row["domain"]) for row in table}
    domains = {domain for _, domain in keys} - {ALL}
    order = sorted(keys, key=lambda key: (key != (ALL, ALL), key))
    return {
        (language, domain): "all" if language == ALL else f"{language}, {domain}" if len(domains) > 1 else language
        for language, domain in order
    }
