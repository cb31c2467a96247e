"""Tables of all results, from result files only."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokalign.common.errors import ArtifactError
from tokalign.common.files import read_json
from tokalign.evaluation.columns import ALL

log = logging.getLogger(__name__)

Row = dict[str, Any]

LABELS = ("evaluation", "model", "tokenizer", "corpus", "alignment", "recipe", "seed", "stage")
UNTRAINED = ("source", "initialized")
"""Stages before training; every other name is a stage of a recipe."""
PERPLEXITY = (
    *LABELS, "language", "domain", "bits_per_byte", "ci_low", "ci_high", "normalized_perplexity", "perplexity", "documents",
)  # fmt: skip
TOKENIZER_INTERVALS = ("bytes_per_token", "fertility", "parity")
"""Tokenizer metrics with intervals in the table."""
TOKENIZERS = (
    "corpus", "tokenizer", "dataset", "language", "domain",
    "bytes_per_token", "bytes_per_token_ci_low", "bytes_per_token_ci_high",
    "fertility", "fertility_ci_low", "fertility_ci_high",
    "characters_per_token", "tokens_per_character", "unknown_rate",
    "continued_words", "single_token_words", "renyi_efficiency", "vocabulary_share",
    "document_fertility", "document_bytes_per_token",
    "parity", "parity_ci_low", "parity_ci_high",
    "documents", "segments", "bytes", "characters", "words", "tokens",
)  # fmt: skip
ALIGNMENTS = (
    "source_tokenizer", "tokenizer", "corpus", "alignment", "category", "tokens", "share", "corpus_share", "score_median",
    "source_tokens_used",
)  # fmt: skip
ALIGNMENT_SCORES = (
    "evaluation", "corpus", "source_tokenizer", "tokenizer", "alignment", "language", "domain", "metric", "tokens", "level",
    "value", "ci_low", "ci_high", "n", "unit", "reason",
)  # fmt: skip
TRAINING = ("model", "tokenizer", "corpus", "alignment", "recipe", "seed", "stage", "step", "tokens", "loss", "learning_rate")
FLOOR = "initialized:"
"""Column prefix of initializations other than the trained one."""
BLOCK = ("evaluation", "model", "language", "domain")
EXPERIMENT = ("tokenizer", "corpus", "alignment", "recipe", "seed")


def _labels(value: Mapping[str, Any], names: Sequence[str]) -> Row:
    """Pick labels; a missing one is ``None``."""
    return {name: value.get(name) for name in names}


def _interval(value: Sequence[float] | None) -> tuple[float | None, float | None]:
    """Split an interval that may be missing."""
    return (None, None) if value is None else (value[0], value[1])


def perplexity_rows(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row per checkpoint and group, columns ``PERPLEXITY``; language and domain ``all`` is the whole.

    Raises:
        ArtifactError: a result has no stage, or two results have the same labels.
    """
    rows: list[Row] = []
    seen: set[tuple[Any, ...]] = set()
    for result in results:
        labels = _labels(result["labels"], LABELS)
        if not labels["stage"]:
            raise ArtifactError("perplexity results: a result has no stage", found=labels, expected="a label `stage`")
        key = tuple(labels.values())
        if key in seen:
            raise ArtifactError("perplexity results: two files with the same labels", found=labels)
        seen.add(key)
        groups: dict[tuple[str, str], Row] = {}
        for metric in result["metrics"]:
            place = {"language": metric["language"], "domain": metric["domain"]}
            row = groups.setdefault(tuple(place.values()), {**labels, **place, "documents": metric["n"]})
            row[metric["metric"]] = metric["value"]
            if metric["metric"] == "bits_per_byte":
                row["ci_low"], row["ci_high"] = _interval(metric["ci95"])
        rows += groups.values()
    return rows


def stage_rows(rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """Return bits per byte with the stages of an experiment side by side.

    An experiment is a trained model: what was trained, from which alignment, by which recipe and seed. Beside its stages are
    its source model and, as baselines, the other initializations of the same model, tokenizer and corpus. If nothing was
    trained, each initialization is a separate experiment.

    Args:
        rows: rows of :func:`perplexity_rows`.

    Returns:
        The columns: evaluation, model, language, domain, tokenizer, corpus, alignment, recipe, seed, then bits per byte
        of ``source``, ``initialized:<other alignment>`` ..., ``initialized`` and the stages of training in order of
        appearance; and the rows.
    """
    trained = [row for row in rows if row["stage"] not in UNTRAINED]
    started = [row for row in rows if row["stage"] == "initialized"]

    def family(row: Row) -> tuple[Any, ...]:
        return tuple(row[k] for k in ("evaluation", "model", "tokenizer", "corpus"))

    with_training = {family(row) for row in trained}
    heads = [*trained, *(row for row in started if family(row) not in with_training)]
    evaluated = {(row["evaluation"], row["model"]) for row in heads}
    heads += [row for row in rows if row["stage"] == "source" and (row["evaluation"], row["model"]) not in evaluated]
    experiments = dict.fromkeys(tuple(row[k] for k in ("evaluation", "model", *EXPERIMENT)) for row in heads)

    floors: dict[str, None] = {}
    table = []
    for evaluation, model, *own in experiments:
        experiment = dict(zip(EXPERIMENT, own, strict=True))
        cells: dict[tuple[str, str], Row] = {}
        for row in rows:
            if (row["evaluation"], row["model"]) != (evaluation, model):
                continue
            same = all(row[k] == experiment[k] for k in ("tokenizer", "corpus"))
            if row["stage"] == "source":
                column = "source"
            elif row["stage"] == "initialized" and same:
                column = "initialized" if row["alignment"] == experiment["alignment"] else f"{FLOOR}{row['alignment']}"
            elif all(row[k] == experiment[k] for k in EXPERIMENT):
                column = row["stage"]
            else:
                continue
            if column.startswith(FLOOR):
                floors[column] = None
            group = {"evaluation": evaluation, "model": model, "language": row["language"], "domain": row["domain"]}
            cell = cells.setdefault((row["language"], row["domain"]), {**group, **experiment})
            cell[column] = row["bits_per_byte"]
        table += cells.values()
    return [*BLOCK, *EXPERIMENT, "source", *floors, "initialized", *dict.fromkeys(row["stage"] for row in trained)], table


def tokenizer_rows(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row per tokenizer and group, columns ``TOKENIZERS``; for a parallel test set, one per language."""
    rows: list[Row] = []
    for result in results:
        labels = _labels(result["labels"], ("corpus", "tokenizer"))
        sums = {(group["language"], group["domain"]): group for group in result["more"]["totals"]}
        groups: dict[tuple[str, str, str], Row] = {}
        for metric in result["metrics"]:
            name, place = metric["metric"], {key: metric[key] for key in ("dataset", "language", "domain")}
            row = groups.setdefault(tuple(place.values()), {**labels, **place})
            row[name], row[metric["items"]] = metric["value"], metric["n"]
            if name in TOKENIZER_INTERVALS:
                row[f"{name}_ci_low"], row[f"{name}_ci_high"] = _interval(metric["ci95"])
        for row in groups.values():
            if "documents" in row:
                row |= sums[row["language"], row["domain"]]
        rows += groups.values()
    return rows


def alignment_rows(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row per alignment and category, columns ``ALIGNMENTS``."""
    rows = []
    for result in results:
        labels = _labels(result["labels"], ("source_tokenizer", "tokenizer", "corpus", "alignment"))
        scores = result["scores"]
        for category, numbers in result["categories"].items():
            median = scores["quantiles"]["50"] if scores and category == "aligned" else None
            used = result["source_tokens_used"]
            rows.append({**labels, "category": category, **numbers, "score_median": median, "source_tokens_used": used})
    return rows


def alignment_score_rows(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row per alignment, metric and group, columns ``ALIGNMENT_SCORES``; language and domain ``all`` is the whole.

    Of the groups, only metrics at corpus level are listed.
    """
    rows = []
    for result in results:
        labels = _labels(result["labels"], ALIGNMENT_SCORES[:5])
        whole = {"language": ALL, "domain": ALL, "metrics": result["metrics"]}
        for group in (whole, *result["groups"]):
            place = {"language": group["language"], "domain": group["domain"]}
            for metric in group["metrics"]:
                if group is whole or metric["level"] == "corpus":
                    low, high = _interval(metric["ci95"])
                    rows.append({**labels, **place, **metric, "ci_low": low, "ci_high": high})
    return rows


def read_metrics(path: str | Path) -> list[Row]:
    """Read ``metrics.jsonl`` of a training stage.

    Returns:
        A row per step in order; of a repeated step (a continued run), the later one.

    Raises:
        ArtifactError: no such file, or a line is not a JSON object with ``step``, ``tokens`` and either ``loss`` or
            ``heldout_bits_per_byte``.
    """
    steps: dict[int, Row] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file", mend="run the step that makes it") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            steps[row["step"]] = {k: row[k] for k in row if isinstance(row[k], int | float)}
            missing = {"tokens", "loss"} - set(row) - ({"loss"} if "heldout_bits_per_byte" in row else set())
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"{path}: line {number}: not a line of metrics", found=line[:80]) from error
        if missing:
            raise ArtifactError(f"{path}: line {number}: no {' and '.join(sorted(missing))}", found=line[:80])
    return [steps[step] for step in sorted(steps)]


def training_rows(metrics: Sequence[tuple[Mapping[str, Any], Sequence[Row]]]) -> tuple[list[str], list[Row]]:
    """Return the columns (``TRAINING`` and all other measurements) and a row per step of every training stage.

    Args:
        metrics: labels and rows of each stage.
    """
    rows = [{**_labels(labels, TRAINING[:7]), **row} for labels, steps in metrics for row in steps]
    more = sorted({name for row in rows for name in row} - set(TRAINING))
    return [*TRAINING, *more], rows


def read_results(paths: Sequence[str | Path], keys: Sequence[str]) -> list[Any]:
    """Read result files.

    Raises:
        ArtifactError: a file is missing, is not JSON, or lacks one of the keys.
    """
    results = []
    for path in paths:
        result = read_json(path)
        missing = [key for key in keys if key not in result]
        if missing:
            raise ArtifactError(f"{path}: not a result of this kind", found=f"no {missing[0]}", mend="make it again")
        results.append(result)
    return results
