"""A comparison table as the workflow writes it, with made-up numbers."""

from __future__ import annotations

from typing import Any

from tokalign.evaluation.columns import COLUMNS
from tokalign.report.tables.files import cell_text

SYSTEMS = (
    ("source", "source"), ("stage2", "adapted"), ("initialized: random", "baseline"), ("initialized: tokalign", "initialized"),
    ("stage1", "stage"), ("16k seed 2 stage2", "adapted"), ("16k decomposition stage2", "adapted"),
)  # fmt: skip
LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "ja", "sw", "zh")
METRICS = {
    # suite: (dataset, condition, metric, first value, factor from system to system, unit, better, level)
    "tokenizers": [
        ("heldout", "", "fertility", 1.9, 0.8, "tokens/word", "lower", "corpus"),
        ("heldout", "", "bytes_per_token", 3.4, 1.2, "bytes/token", "higher", "corpus"),
        ("heldout", "", "continued_words", 0.5, 0.8, "share", "lower", "corpus"),
        ("heldout", "", "single_token_words", 0.5, 1.2, "share", "higher", "corpus"),
    ],
    "perplexity": [
        ("heldout", "", "bits_per_byte", 0.92, 1.07, "bits/byte", "lower", "corpus"),
        ("heldout", "", "normalized_perplexity", 14.2, 1.12, "per reference token", "lower", "corpus"),
        ("heldout", "", "perplexity", 14.2, 1.5, "per own token", "neither", "corpus"),
    ],
    "tasks": [
        ("arc_easy", "0-shot", "acc", 0.62, 0.97, "share", "higher", "item"),
        ("arc_easy", "0-shot", "acc_norm", 0.58, 0.97, "share", "higher", "item"),
        ("hellaswag", "0-shot", "acc_norm", 0.43, 0.98, "share", "higher", "item"),
        ("lambada_openai", "0-shot", "acc", 0.51, 0.95, "share", "higher", "item"),
        ("lambada_openai", "0-shot", "perplexity", 9.1, 1.2, "", "lower", "item"),
    ],
    "choices": [
        ("office", condition, "accuracy", value, 0.98, "share", "higher", "item")
        for condition, value in (("raw", 0.5), ("bytes", 0.55), ("characters", 0.54))
    ] + [("office", "raw", "chance", 0.25, 1.0, "share", "neither", "item")],
    "translation": [
        (direction, condition, metric, value, factor, unit, better, "corpus")
        for direction in ("office-es-en", "office-en-es")
        for condition in ("greedy",)
        for metric, value, factor, unit, better in (
            ("bleu", 16.0, 0.88, "%", "higher"), ("chrf++", 33.0, 1.13, "%", "higher"), ("ter", 88.0, 1.1, "%", "lower"),
            ("length_ratio", 0.8, 1.2, "of the reference", "neither"), ("comet", 0.71, 0.92, "", "higher"),
        )
    ],
    "generation": [
        ("heldout", condition, metric, value * factor, 0.97, "%", better, "corpus")
        for condition, factor in (("greedy", 0.5), ("nucleus", 1.0))
        for metric, value, better in (
            ("distinct_1", 0.4, "higher"), ("distinct_2", 0.75, "higher"), ("distinct_3", 0.88, "higher"),
            ("repetition_rate", 0.12, "lower"), ("self_bleu", 0.2, "lower"), ("words", 45.0, "neither"),
        )
    ],
    "efficiency": [
        ("heldout", f"batch {size}", metric, value * size**power, factor, unit, better, "corpus")
        for size in (1, 8)
        for metric, value, factor, unit, better, power in (
            ("prefill_bytes_per_second", 41_000.0, 1.15, "bytes/s", "higher", 0.7),
            ("decode_bytes_per_second", 120.0, 1.1, "bytes/s", "higher", 0.7),
            ("prefill_tokens_per_second", 9_900.0, 0.95, "tokens/s", "higher", 0.7),
            ("decode_tokens_per_second", 31.0, 0.9, "tokens/s", "higher", 0.7),
            ("first_token_seconds_p50", 0.031, 1.1, "s", "lower", 0.6),
            ("peak_memory", 7.0e8, 1.05, "bytes", "lower", 0.1),
        )
    ],
    "composite": [
        (direction, "greedy, batch 8", metric, 33.0, 1.05, "%", "higher", "exploratory")
        for direction in ("office-es-en", "office-en-es")
        for metric in ("chrf_e_bytes", "chrf_e_tokens")
    ],
}  # fmt: skip
DELTAS = [("corpus", 17.0, 1.3), ("item", 16.6, 1.14)]
ITEMS = {"tokenizers": ("documents", 20000), "perplexity": ("documents", 900), "tasks": ("questions", 2376),
         "choices": ("questions", 500), "translation": ("segments", 1012), "generation": ("prompts", 1000),
         "efficiency": ("texts", 64), "composite": ("segments", 1012)}  # fmt: skip


def cells(row: dict[str, Any]) -> dict[str, str]:
    return {column: cell_text(row.get(column)) for column in COLUMNS}


def _rows(suite: str, spec: tuple, systems: tuple, languages: tuple, evaluation: str, intervals: bool) -> list[dict[str, str]]:
    dataset, condition, metric, first, factor, unit, better, level = spec
    places = [("all", "all"), *((language, "web") for language in languages)] if len(languages) > 1 else [(languages[0], "web")]
    if suite not in ("tokenizers", "perplexity"):
        places = [("en", "web")]
    rows = []
    for place, (language, domain) in enumerate(places):
        base = first * (1 + 0.06 * (place % 4))
        for number, (system, role) in enumerate(systems):
            if suite == "composite" and role == "source":
                continue
            value = base * (1 + (factor - 1) * (0 if number == 0 else 1 + 0.2 * number))
            width = 0.02 * base if intervals and suite != "composite" else None
            row = {
                "evaluation": evaluation, "suite": suite, "system": system, "role": role, "origin": "measured", "model": "smollm",
                "tokenizer": "smollm" if role == "source" else "16k", "stage": role, "dataset": dataset, "condition": condition,
                "language": language, "domain": domain, "metric": metric, "value": value, "unit": unit, "better": better,
                "level": level, "items": ITEMS[suite][0], "n": ITEMS[suite][1] // (1 if language == "all" else 1 + place),
            }  # fmt: skip
            if width:
                row |= {"ci_low": value - width, "ci_high": value + 1.5 * width}
            if number:
                row |= {"baseline": systems[0][0], "baseline_value": base, "difference": value - base,
                        "relative_difference": value / base - 1}  # fmt: skip
                if width:
                    row |= {"difference_ci_low": value - base - 0.5 * width, "difference_ci_high": value - base + 0.6 * width}
            if suite == "tokenizers":
                row |= {"role": "tokenizer", "tokenizer": system}
            rows.append(cells(row))
    return rows


def comparison(
    systems: int = 2,
    languages: int = 2,
    evaluations: tuple[str, ...] = ("heldout",),
    intervals: bool = True,
    published: bool = False,
) -> list[dict[str, str]]:
    """Return a table with the given numbers of systems and languages."""
    rows = []
    names = ("smollm", "16k") if systems < 4 else ("smollm", "16k", "32k medical")
    for evaluation in evaluations:
        for suite, specs in METRICS.items():
            specs = list(specs)
            if suite == "translation":
                specs += [("office-es-en", "greedy", "chrf_delta", value, factor, "%", "neither", level)
                          for level, value, factor in DELTAS]  # fmt: skip
            for spec in specs:
                own = tuple((name, "tokenizer") for name in names) if suite == "tokenizers" else SYSTEMS[:systems]
                rows += _rows(suite, spec, own, LANGUAGES[:languages], evaluation, intervals)
        if published:
            shared = {"evaluation": evaluation, "system": "pythia-1b qwen2 (published: Doe 2025)", "role": "published",
                      "origin": "published", "language": "all", "domain": "all", "better": "neither"}  # fmt: skip
            for suite, dataset, condition, metric, value in (
                ("translation", "office-es-en", "greedy", "bleu", 14.1), ("translation", "office-es-en", "greedy", "chrf++", 37.3),
                ("translation", "office-es-en", "greedy", "ter", 95.0), ("tasks", "hellaswag", "0-shot", "acc_norm", 0.41),
                ("efficiency", "heldout", "batch 8", "decode_bytes_per_second", 610.0),
                ("perplexity", "heldout", "", "bits_per_byte", 1.1),
            ):  # fmt: skip
                rows.append(cells({**shared, "suite": suite, "dataset": dataset, "condition": condition, "metric": metric,
                                   "value": value}))  # fmt: skip
    return rows
