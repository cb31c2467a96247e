"""Composite metrics of tokalign-baseline: derived, exploratory, never a headline.

They mix quality with speed, or two quality metrics, and nobody has shown that they agree with human judgment. They are computed
to reproduce its numbers, and shown with that caveat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokalign.evaluation.columns import ALL, LABELS
from tokalign.evaluation.comparison import Entry, Result
from tokalign.evaluation.results import statistics


def chrf_e(chrf: float, speed: float, source_speed: float) -> float:
    """Return chrF++ scaled by speed: chrF++ x throughput / throughput of the source model [tokalign-baseline].

    Args:
        chrf: chrF++ of the adapted model, in percent.
        speed: its throughput, in the same unit as ``source_speed`` (bytes/s is fair, tokens/s is not).
        source_speed: throughput of the source model.
    """
    return chrf * speed / source_speed


@dataclass(frozen=True)
class DecodingCost:
    """What a token costs: the body of the model and the LM head, which grows with the vocabulary.

    Attributes:
        vocabulary: rows of the LM head.
        body: parameters per token without the LM head and the input embedding, which is a look-up.
        hidden: columns of the LM head.
        tokens: tokens of the compared text.
    """

    vocabulary: int
    body: int
    hidden: int
    tokens: float

    @property
    def per_text(self) -> float:
        """Multiplications for the compared text: tokens x (body + LM head)."""
        return self.tokens * (self.body + self.hidden * self.vocabulary)


@dataclass(frozen=True)
class FertilityTrap:
    """Whether a better tokenizer made a worse system [tokalign-baseline, "The Fertility Trap"].

    Attributes:
        holds: chrF++ rises, but chrF-E falls below the chrF++ of the source model.
        analytic: the published condition, V_new / V_old > (L_old / L_new) x (C_seq / C_vocab), where C_seq and C_vocab are the
            costs of a token in body and LM head of the source model; ``None`` if sizes are unknown.
        slower: whether the new model needs more multiplications for the same text, which the condition stands for.
    """

    holds: bool
    analytic: bool | None
    slower: bool | None


def fertility_trap(
    chrf_source: float, chrf: float, chrf_e_new: float, source: DecodingCost | None = None, new: DecodingCost | None = None
) -> FertilityTrap:
    """Return the verdict for an adapted model.

    Args:
        chrf_source: chrF++ of the source model.
        chrf: chrF++ of the adapted model.
        chrf_e_new: chrF-E of the adapted model.
        source: costs of the source model.
        new: costs of the adapted model.
    """
    analytic = slower = None
    if source is not None and new is not None:
        costs = source.body / (source.hidden * source.vocabulary)
        analytic = new.vocabulary / source.vocabulary > source.tokens / new.tokens * costs
        slower = new.per_text > source.per_text
    return FertilityTrap(chrf > chrf_source and chrf_e_new < chrf_source, analytic, slower)


Row = dict[str, Any]


SPEEDS = {"chrf_e_bytes": "decode_bytes_per_second", "chrf_e_tokens": "decode_tokens_per_second"}
"""Composite metrics and the throughput they scale by: tokens as published, bytes as a fair measure."""


def _system(labels: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(labels.get(name) for name in LABELS)


def costs(entries: Sequence[Entry]) -> dict[tuple[Any, ...], DecodingCost]:
    """Return the costs of each system: sizes from its efficiency result, tokens from its perplexity result."""
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
        rows: rows of :func:`tokalign.evaluation.comparison.compare`.
        entries: results that the rows come from.
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
