"""Rows of the composite metrics, from what translation and efficiency measured on the same systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokalign.comparison import Entry, Result
from tokalign.composite import DecodingCost, chrf_e, fertility_trap
from tokalign.result_columns import ALL, LABELS
from tokalign.results import statistics

Row = dict[str, Any]

SPEEDS = {"chrf_e_bytes": "decode_bytes_per_second", "chrf_e_tokens": "decode_tokens_per_second"}
"""Composite metrics and the throughput that they scale by; that in tokens is as published, that in bytes is fair."""


def _system(labels: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(labels.get(name) for name in LABELS)


def costs(entries: Sequence[Entry]) -> dict[tuple[Any, ...], DecodingCost]:
    """Return the costs of each system that has both an efficiency and a perplexity result: its sizes, and tokens of the same text."""
    sizes, tokens = {}, {}
    for entry in (entry for entry in entries if entry.origin == "measured"):
        result = Result(entry.path)
        if result.suite == "efficiency":
            sizes[_system(result.labels)] = result.content["more"]
        elif result.suite == "perplexity":
            tokens[_system(result.labels)] = float(statistics(result.items, ("tokens",)).sum())
    return {
        system: DecodingCost(
            more["embedding_rows"], more["parameters"] - more["embedding_parameters"], more["hidden_size"], tokens[system]
        )
        for system, more in sizes.items()
        if system in tokens
    }


def composite_rows(rows: Sequence[Row], entries: Sequence[Entry]) -> list[Row]:
    """Return chrF-E and the verdict of the fertility trap for every adapted system, translation and batch size.

    Args:
        rows: of :func:`tokalign.comparison.compare`.
        entries: the results that they are of.
    """
    measured = [row for row in rows if row["origin"] == "measured"]
    scores = [
        row
        for row in measured
        if row["suite"] == "translation" and row["metric"] == "chrf++" and row.get("baseline_value") is not None
    ]
    speeds = [row for row in measured if row["suite"] == "efficiency" and row.get("baseline_value") is not None]
    known = costs(entries)
    found = []
    for score in scores:
        own = _system(score)
        source = next((system for system in known if system[0] == score["model"] and system[-1] == "source"), None)
        for metric, throughput in SPEEDS.items():
            for speed in speeds:
                if speed["metric"] != throughput or _system(speed) != own or speed["value"] is None:
                    continue
                value = chrf_e(score["value"], speed["value"], speed["baseline_value"])
                trap = fertility_trap(score["baseline_value"], score["value"], value, known.get(source), known.get(own))
                shared = {
                    **{key: score[key] for key in ("evaluation", "system", "role", "origin", *LABELS, "dataset", "baseline")},
                    "suite": "composite", "condition": ", ".join(filter(None, (score["condition"], speed["condition"]))),
                    "language": score["language"], "domain": score["domain"] if score["language"] != ALL else ALL,
                    "n": score["n"], "items": score["items"], "level": "exploratory",
                }  # fmt: skip
                found.append(
                    {**shared, "metric": metric, "value": value, "unit": "%", "better": "higher",
                     "baseline_value": score["baseline_value"], "difference": value - score["baseline_value"],
                     "relative_difference": value / score["baseline_value"] - 1 if score["baseline_value"] else None}
                )  # fmt: skip
                if metric == "chrf_e_bytes":
                    verdicts = {
                        "fertility_trap": trap.holds,
                        "fertility_trap_condition": trap.analytic,
                        "costs_more": trap.slower,
                    }
                    found += [
                        {**shared, "metric": name, "value": float(holds), "unit": "yes or no", "better": "lower"}
                        for name, holds in verdicts.items()
                        if holds is not None
                    ]
    return found
