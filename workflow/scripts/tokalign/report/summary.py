"""The result in five lines: tokens saved, quality lost, speed gained, failures, next step; from the comparison alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokalign.evaluation.columns import ALL
from tokalign.report.tables.comparison import whole

Row = dict[str, Any]

HEADS = ("Tokens saved", "Quality", "Speed", "What failed", "What to do next")
ACCEPTED_LOSS = 0.05
"""Loss of bits per byte above which the advice is more training, whatever the criteria (5 % in tokalign-baseline)."""
NOTES = (
    "Percentages compare with the source model on the same items; intervals are 95 %. Significant means after Holm's correction for all "
    "tests of a suite. Everything comes from results/tables/comparison.csv.",
)


def percent(share: float) -> str:
    """Format a share with its sign: ``+12.3 %``."""
    return f"{100 * share:+.1f} %"


def _pick(rows: Sequence[Row], suite: str, metric: str) -> list[Row]:
    return [
        row for row in rows if row["suite"] == suite and row["metric"] == metric and row.get("relative_difference") is not None
    ]


def _range(rows: Sequence[Row]) -> str:
    """Name the groups with the smallest and largest relative difference, if there are several."""
    ordered = sorted((row for row in rows if row["language"] != ALL), key=lambda row: row["relative_difference"])
    if len(ordered) < 2:
        return ""
    names = [f"{row['language']} ({row['domain']}) {percent(row['relative_difference'])}" for row in (ordered[0], ordered[-1])]
    return f"; from {names[0]} to {names[1]}"


def tokenizer_system(rows: Sequence[Row], adapted: Row) -> str:
    """Return the system whose rows compare the tokenizers of an adapted model and its source model."""
    compared = [row for row in rows if row["role"] == "tokenizer" and row["tokenizer"] == adapted["tokenizer"]]
    own = {row["tokenizer"] for row in rows if row["role"] == "source" and row["model"] == adapted["model"]}
    names = [row["system"] for row in compared if row.get("baseline") in own] or [row["system"] for row in compared]
    return names[0] if names else adapted["tokenizer"]


def tokens_saved(rows: Sequence[Row], tokenizer: str) -> str:
    """Describe how many tokens a tokenizer saves on the validation text, and where fewest and most."""
    found = [
        row for row in _pick(rows, "tokenizers", "bytes_per_token") if row["system"] == tokenizer and row["level"] == "corpus"
    ]
    if not found:
        return "not measured"
    top = whole(found)[0]
    saved = [{**row, "relative_difference": row["baseline_value"] / row["value"] - 1} for row in found]
    change = top["baseline_value"] / top["value"] - 1
    word = "fewer" if change < 0 else "more"
    return (
        f"{abs(100 * change):.1f} % {word} tokens than {top['baseline']} for the same text ({top['baseline_value']:.2f} -> {top['value']:.2f} "
        f"bytes per token, {top['n']} documents){_range(saved)}"
    )


def quality(rows: Sequence[Row], system: str) -> str:
    """Describe the change of bits per byte, and count other metrics that became significantly better or worse."""
    own = [row for row in rows if row["system"] == system]
    bits = _pick(own, "perplexity", "bits_per_byte")
    parts = []
    if bits:
        top = whole(bits)[0]
        interval = ""
        if top.get("difference_ci_low") is not None:
            ends = [top[key] / top["baseline_value"] for key in ("difference_ci_low", "difference_ci_high")]
            interval = f" [{percent(ends[0])}, {percent(ends[1])}]"
        parts.append(
            f"bits per byte {top['baseline_value']:.3f} -> {top['value']:.3f} ({percent(top['relative_difference'])}{interval}; more is worse){_range(bits)}"
        )
    others = [
        row for row in whole(own) if row["suite"] in ("tasks", "choices", "translation", "generation") and row.get("verdict")
    ]
    if others:
        count = {word: sum(row["verdict"] == word for row in others) for word in ("better", "worse", "no difference")}
        parts.append(
            f"of {len(others)} tested metrics of tasks, translation and generation {count['better']} significantly better, {count['worse']} worse, "
            f"{count['no difference']} without significant difference"
        )
    return "; ".join(parts) or "not measured"


def speed(rows: Sequence[Row], system: str) -> str:
    """Describe the change of reading and writing speed at each batch size, in bytes per second."""
    own = [row for row in rows if row["system"] == system]
    parts = []
    for metric, what in (("prefill_bytes_per_second", "reading"), ("decode_bytes_per_second", "writing")):
        found = [f"{percent(row['relative_difference'])} ({row['condition']})" for row in _pick(own, "efficiency", metric)]
        if found:
            parts.append(f"{what} {', '.join(found)}")
    return f"in bytes per second: {'; '.join(parts)}" if parts else "not measured"


def failures(rows: Sequence[Row], criteria: Sequence[Row], system: str, tokenizer: str, runs: Sequence[Row]) -> str:
    """Name the criteria that failed and the worst significant regressions."""
    own = [row for row in criteria if row["system"] in (system, tokenizer)]
    failed = [row for row in own if not row["passed"]]
    parts = []
    if own:
        names = dict.fromkeys(row["criterion"] for row in failed)
        parts.append(f"{len(failed)} of {len(own)} checks of criteria" + (f": {', '.join(names)}" if failed else ""))
    else:
        parts.append("no criteria are configured")
    worse = [row for row in whole([row for row in rows if row["system"] in (system, tokenizer)]) if row.get("verdict") == "worse"]
    worse.sort(key=lambda row: -abs(row.get("relative_difference") or 0))
    if worse:
        named = [" ".join(filter(None, (row["suite"], row["dataset"], row["condition"], row["metric"]))) for row in worse[:3]]
        parts.append(f"{len(worse)} significant regressions, first of all {'; '.join(named)}")
    few = sorted({run["suite"] for run in runs if run["exploratory"]})
    if few:
        parts.append(f"too few items to conclude from: {', '.join(few)}")
    return ". ".join(parts)


def advice(rows: Sequence[Row], criteria: Sequence[Row], system: str, tokenizer: str) -> str:
    """Return the advice on what to do next, by fixed rules."""
    own = [row for row in rows if row["system"] == system]
    bits, saved = (
        whole(_pick(own, "perplexity", "bits_per_byte")),
        whole([row for row in _pick(rows, "tokenizers", "bytes_per_token") if row["system"] == tokenizer]),
    )
    decode = _pick(own, "efficiency", "decode_bytes_per_second")
    failed = any(not row["passed"] for row in criteria if row["system"] in (system, tokenizer))
    if saved and saved[0]["relative_difference"] <= 0:
        return "the new tokenizer saves nothing on this text: train it on text like yours, or with a larger vocabulary, before anything else"
    if bits and bits[0]["relative_difference"] > ACCEPTED_LOSS:
        return (
            "train longer or on more text: bits per byte are still above the source model's; see in the figure of the training progress whether "
            "the held-out curve still falls, and start from the best initialization of the table"
        )
    if failed:
        return "look at the criteria that failed, by language, and add training text where they did"
    if decode and max(row["relative_difference"] for row in decode) < 0:
        return "the saved tokens do not pay for the larger vocabulary at these batch sizes: try a smaller vocabulary or a larger model"
    return "publish the adapted model, or distill a stronger model into it"


def summarize(comparison: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the five lines of each adapted model.

    Args:
        comparison: content of ``comparison.json``.

    Returns:
        Name of each system, and its lines (heading and text).
    """
    rows = [row for row in comparison["rows"] if row["origin"] == "measured" and row["value"] is not None]
    systems = {row["system"]: row for row in rows if row["role"] == "adapted"}
    sections = []
    for system, labels in systems.items():
        tokenizer, runs = tokenizer_system(rows, labels), [run for run in comparison["runs"] if run["origin"] == "measured"]
        texts = (
            tokens_saved(rows, tokenizer),
            quality(rows, system),
            speed(rows, system),
            failures(rows, comparison["criteria"], system, tokenizer, runs),
            advice(rows, comparison["criteria"], system, tokenizer),
        )
        name = f"{comparison['evaluation']}: {labels['model']} with {labels['tokenizer']} ({system})"
        sections.append((name, list(zip(HEADS, texts, strict=True))))
    return sections
