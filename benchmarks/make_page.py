"""Write docs/benchmarks.md and its plots from the result files, the only source of its numbers.

python benchmarks/make_page.py --results benchmarks/results --page docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from common import ROOT
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from tokalign.common.files import atomic_file, read_json
from tokalign.report.figures.common import DASHES, MARKERS, STYLE

TITLES = {
    "initialization": "Initial models: bits per byte",
    "glove": "GloVe: counting and training, beside Stanford's programs",
    "glove_bleu": "GloVe: alignments from our vectors and from Stanford's",
    "tokenize": "Text to token shards, beside `datasets.map`",
    "alignment": "Alignment, beside TokAlign's program",
    "streaming": "Initializing a checkpoint, beside a copy of its files",
    "training": "A training step with a large vocabulary, beside the published trainer's way",
    "scoring": "Scoring text and answering questions, beside a plain loop and lm-evaluation-harness",
    "counting_growth": "Counting and GloVe as the corpus grows",
    "alignment_growth": "Alignment as both vocabularies grow",
}
"""Section titles by the name of the result file, in the order of the page."""

GROWTHS = {"counting_growth": ("tokens", "tokens of the corpus"), "alignment_growth": ("target", "target tokens")}
"""Sections with a plot: the column of sizes and its label."""
NOTES = {
    "glove_bleu": "BLEU in points (1 point is 0.01) of held-out text rewritten by an alignment: means over seeds of the training. "
    "`difference` is ours minus Stanford's, with its `standard_error`; `not_shared` are tokens without an exact twin.",
    "tokenize": "`library` is the tokenizers library's own work, `encode_batch_fast` on text in memory with as many threads: the "
    "lower bound of the time of any program that calls it.",
    "scoring": "Documents in bits per byte, multiple-choice questions in accuracy, one batch under a vocabulary of `rows`. "
    "`one_by_one` gives the model one document, or one prompt with a choice, at a time; `harness` is lm-evaluation-harness's "
    "model class, `tasks` ours in its place, `ours` the suites perplexity and choices. All find the same values. "
    "Ratios above 1 mean that ours is faster or smaller; `added_mb` is what scoring adds to the loaded model at its peak. "
    "`cpu_s` is the time of all threads together, which other work on the machine (`load_before`) affects less than `seconds`.",
    "counting_growth": "Parts of one corpus, counted within a fixed `memory_gb`: what does not fit waits on disk in `chunks`. "
    "`cpu_s` is the time of all threads together. `larger_corpus` is estimated from all four sizes; `largest_from_the_smaller` "
    "in the same way from the first three, to compare with the last row of the table. Bytes per token, non-zero and entry on disk are constants of the code.",
    "alignment_growth": "Source vocabularies of half the size; comparisons grow with the square of the size.",
}
"""Notes above the numbers of a section."""
SHADES = ("0", "0.45", "0.6")
"""Gray levels of lines, for printing."""
TICKS = [digit * 10.0**power for power in range(-3, 8) for digit in (1, 2, 5)]
STAGES = {"source": "source model", "initialized": "at once", "steps50": "50 steps", "steps200": "200 steps"}


def cell(value: Any) -> str:
    """Return a value as shown in a table."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table; columns are the keys of the first row."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return lines + ["| " + " | ".join(cell(row.get(name, "")) for name in names) + " |" for row in rows]


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries of numbers as one, keys joined by dots; lists of dictionaries are left out."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list) or all(isinstance(each, int | float | str) for each in value):
            found[f"{prefix}{key}"] = value
    return found


def leaderboard(result: dict[str, Any]) -> list[str]:
    """Return the tables of the leaderboard: one for each target and stage, best first."""
    sizes = result["heldout_bytes"]
    lines = [f"Held-out text: {', '.join(f'{name} {size:,}' for name, size in sizes.items())} bytes.", ""]
    rows = result["rows"]
    source = next(row for row in rows if row["stage"] == "source")
    for target in dict.fromkeys(row["target"] for row in rows if row["target"]):
        for stage in ("initialized", "steps50", "steps200"):
            some = [row for row in rows if (row["target"], row["stage"]) == (target, stage)]
            if some:
                some.sort(key=lambda row: row["bits_per_byte"]["all"])
                lines += [f"### {target}, {STAGES[stage]}", ""]
                shown = [{"method": row["method"], **row["bits_per_byte"]} for row in some]
                lines += [*table([*shown, {"method": "(source model)", **source["bits_per_byte"]}]), ""]
    return lines


def series_of(row: dict[str, Any]) -> list[str]:
    """Return the names of the measurements at a size, in order."""
    return [key for key, value in row.items() if isinstance(value, dict) and "wall_s" in value]


def slope(sizes: list[float], values: list[float]) -> float:
    """Return the power of the size by which values grow (least squares on logarithms)."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def growth_plot(result: dict[str, Any], column: str, label: str) -> Figure:
    """Draw time and memory against size, on logarithmic axes, with the power of the size in the legend."""
    rows = result["measured"]
    sizes = [row[column] for row in rows]
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3), layout="constrained")
    for axes, (key, unit, title) in zip(
        panels, (("cpu_s", "s", "Time of the processor"), ("peak_rss_mb", "MB", "Peak memory")), strict=True
    ):
        for number, name in enumerate(series_of(rows[0])):
            values = [row[name][key] for row in rows]
            axes.loglog(
                sizes,
                values,
                color=SHADES[number],
                marker=MARKERS[number],
                linestyle=DASHES[number],
                markersize=4,
                label=f"{name}: size$^{{{slope(sizes, values):.2f}}}$",
            )
        axes.set(title=f"{title} [{unit}]", xlabel=label, xticks=sizes, xticklabels=[short(size) for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        low, high = axes.dataLim.intervaly
        ticks = [tick for below, tick, above in zip(TICKS, TICKS[1:], TICKS[2:], strict=False) if below < high and above > low]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_ylim(ticks[0], ticks[-1])
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y", color="0.9")
        axes.legend()
    return figure


def short(size: float) -> str:
    """Return a size of two or three digits with its unit."""
    return f"{size / 1e6:.3g} M" if size >= 1e6 else f"{size / 1e3:.3g} k"


def section(name: str, result: dict[str, Any]) -> list[str]:
    """Return the lines of one section."""
    machine = result["machine"]
    versions = ", ".join(f"{key} {value}" for key, value in result["versions"].items())
    lines = [f"## {TITLES[name]}", "", *(f"    {command}" for command in result.get("commands", [result["command"]])), ""]
    lines += [f"{result['date']}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB; {versions}.", ""]
    if name in NOTES:
        lines += [NOTES[name], ""]
    if name in GROWTHS:
        lines += [f"![{TITLES[name]}: time and memory]({name}.svg)", ""]
    if name == "initialization":
        return lines + leaderboard(result)
    own = {"command", "date", "machine", "versions", "benchmark"}
    measured = result.get("measured")
    numbers = flat({key: value for key, value in result.items() if key not in own and key != "measured"})
    lines += table([{"figure": key, "value": value} for key, value in numbers.items()])
    if isinstance(measured, list) and measured and name != "streaming":
        rows = [flat(row) for row in measured]
        names = sorted(rows[0], key=lambda key: (key != "factor", "." in key))  # sizes before what was measured at them
        lines += ["", *table([{key: row.get(key, "") for key in names} for row in rows])]
    return [*lines, ""]


def main(args: argparse.Namespace) -> None:
    """Write the page, and its plots beside it."""
    lines = ["# Benchmarks", "", "Generated by `python benchmarks/make_page.py` from `benchmarks/results/`. Do not edit.", ""]
    for name in TITLES:
        path = args.results / f"{name}.json"
        if not path.exists():
            continue
        result = read_json(path)
        lines += section(name, result)
        if name in GROWTHS:
            with plt.rc_context(STYLE | {"svg.fonttype": "none"}), atomic_file(args.page.with_name(f"{name}.svg")) as partial:
                growth_plot(result, *GROWTHS[name]).savefig(partial, format="svg", metadata={"Date": None})
            plt.close()
    with atomic_file(args.page) as partial:
        partial.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/benchmarks.md")
    main(parser.parse_args())
