"""Comparison of all results of an evaluation with those of the source model: differences, intervals, tests, seeds, criteria."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.common.progress import Progress
from tokalign.config.suites import SUITES
from tokalign.evaluation.columns import COLUMNS, GROUP, ITEM_COLUMNS, LABELS
from tokalign.evaluation.results import groups_of, read_items, read_result, statistics
from tokalign.evaluation.statistics.bootstrap import holm, jackknife_error, paired_difference
from tokalign.evaluation.statistics.estimators import ESTIMATORS

log = logging.getLogger(__name__)

Row = dict[str, Any]

PUBLISHED_REQUIRED = ("system", "suite", "metric", "value", "citation")


@dataclass(frozen=True)
class Entry:
    """A result in a comparison.

    Attributes:
        path: its JSON file.
        role: ``source``, ``baseline``, ``initialized``, ``stage``, ``adapted`` or ``tokenizer``.
        baseline: JSON file of the result to compare it with, or ``None``.
        origin: ``measured``, or ``merged`` for a result of another run.
        folder: folder of the other run, if merged.
    """

    path: str
    role: str
    baseline: str | None
    origin: str = "measured"
    folder: str | None = None


class Result:
    """A result file; items are read when needed."""

    def __init__(self, path: str):
        """Read the JSON."""
        self.path = path
        self.content = read_result(path)
        self.suite: str = self.content["suite"]
        self.labels: dict[str, Any] = self.content["labels"]
        self.metrics: list[dict[str, Any]] = self.content["metrics"]

    @cached_property
    def items(self) -> pa.Table:
        """Items, sorted by name."""
        return read_items(self.path).sort_by([(name, "ascending") for name in ITEM_COLUMNS])

    @cached_property
    def names(self) -> set[tuple[str, ...]]:
        """Names of the items."""
        return set(zip(*(self.items.column(name).to_pylist() for name in ITEM_COLUMNS), strict=True))

    @cached_property
    def groups(self) -> dict[tuple[str, ...], np.ndarray]:
        """Indices of the items of each group."""
        return dict(groups_of(self.items))

    def find(self, metric: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the same metric of the same group, or ``None``."""
        key = _key(metric)
        return next((other for other in self.metrics if _key(other) == key), None)


def _key(metric: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(metric[name] for name in ("metric", "level", *GROUP))


def other_items(first: Result, second: Result) -> str | None:
    """Return how the items of two results differ, in names or in content (``SuiteEntry.content``), or ``None``."""
    odd = first.names ^ second.names
    if odd:
        return f"{len(odd)} items that only one of them has, such as {sorted(odd)[:3]}"
    for name in SUITES[second.suite].content:
        if name not in first.items.column_names or name not in second.items.column_names:
            continue
        pairs = zip(first.items[name].to_pylist(), second.items[name].to_pylist(), strict=True)
        differ = [i for i, (one, other) in enumerate(pairs) if one != other]
        if differ:
            named = tuple(second.items[column][differ[0]].as_py() for column in ITEM_COLUMNS)
            return f"{len(differ)} items of the same names with another `{name}`, such as {named}"
    return None


def other_measuring(first: Result, second: Result) -> str | None:
    """Return why two results with the same items are not comparable: settings, or for speed the machine; else ``None``."""
    one, other = first.content.get("settings") or {}, second.content.get("settings") or {}
    suite = SUITES[second.suite]
    keys = [key for key in sorted({*one, *other} - set(suite.how_it_runs)) if one.get(key) != other.get(key)]
    if keys:
        return f"settings: {', '.join(f'{key} {one.get(key)} and {other.get(key)}' for key in keys)}"
    if not suite.of_the_machine:
        return None
    for key in ("device", "precision"):
        if first.content.get(key) != second.content.get(key):
            return f"{key}: {first.content.get(key)} and {second.content.get(key)}"
    threads = [(result.content.get("more") or {}).get("threads") for result in (first, second)]
    on_cpu = first.content.get("device") == "cpu"
    return f"threads: {threads[0]} and {threads[1]}" if on_cpu and threads[0] != threads[1] else None


def _effect(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Cohen's d of two samples with the pooled standard deviation (as tokalign-baseline), or ``None`` if that is 0."""
    if len(first) < 2 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    spread = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    return float((second.mean() - first.mean()) / spread) if spread > 0 else None


def _by_items(metric: Mapping[str, Any], base: Result, own: Result, settings: Mapping[str, Any]) -> Row:
    """Compare a metric that is a function of sums over the same items."""
    group = own.groups.get(tuple(metric[name] for name in GROUP))
    if group is None:
        return {}
    estimator = ESTIMATORS[metric["estimator"]]
    first, second = (statistics(result.items, metric["columns"])[group] for result in (base, own))
    scale = metric["scale"]
    found = paired_difference(first, second, estimator, scale=scale, resamples=settings["resamples"], seed=settings["seed"])
    low, high = found.ci95 or (None, None)
    effect = None
    if metric["estimator"] == "ratio":
        effect = _effect(scale * estimator(first), scale * estimator(second))
    return {"difference_ci_low": low, "difference_ci_high": high, "p": found.p, "cohens_d": effect}


def _by_replicates(metric: Mapping[str, Any], other: Mapping[str, Any]) -> Row:
    """Compare a metric by its replicates: paired for a jackknife over the same groups, Welch's test for repeated runs."""
    first, second = (np.array(m["replicates"]["values"], dtype=np.float64) for m in (other, metric))
    difference = metric["value"] - other["value"]
    if metric["replicates"]["kind"] == "jackknife":
        if len(first) != len(second):
            return {}
        error, freedom = jackknife_error(second - first), len(first) - 1
    else:
        parts = [sample.var(ddof=1) / len(sample) for sample in (first, second)]
        error = math.sqrt(sum(parts))
        divisor = sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, (first, second), strict=True))
        freedom = sum(parts) ** 2 / divisor if divisor else 1
    if error == 0:
        return {"difference_ci_low": difference, "difference_ci_high": difference, "p": 1.0 if difference == 0 else None}
    half = float(stats.t.ppf(0.975, freedom)) * error
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return {"difference_ci_low": difference - half, "difference_ci_high": difference + half, "p": p}


def _difference(metric: Mapping[str, Any], base: Result, own: Result, settings: Mapping[str, Any]) -> Row:
    """Return the columns that compare a metric with the baseline's."""
    other = base.find(metric)
    if other is None or other["value"] is None or metric["value"] is None:
        return {}
    difference = metric["value"] - other["value"]
    row = {"baseline_value": other["value"], "difference": difference}
    row["relative_difference"] = difference / abs(other["value"]) if other["value"] else None
    if "replicates" in metric and "replicates" in other:
        return row | _by_replicates(metric, other)
    if "estimator" in metric:
        return row | _by_items(metric, base, own, settings)
    return row


def verdict(row: Mapping[str, Any], significance: float) -> str | None:
    """Return ``better``, ``worse`` or ``no difference`` for a tested difference of a metric that has a better direction."""
    if row.get("p_corrected") is None or row["better"] == "neither":
        return None
    if row["p_corrected"] > significance or row["difference"] == 0:
        return "no difference"
    return "better" if (row["difference"] > 0) == (row["better"] == "higher") else "worse"


def system_names(labeled: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Name systems by what distinguishes them.

    Args:
        labeled: role and labels of each system.

    Returns:
        A name for each: the labels that vary among the systems, the stage, and the initialization of an untrained model.
    """
    models = [labels for role, labels in labeled if role != "tokenizer"]
    adapted = [labels for labels in models if labels.get("stage") != "source"]
    several = {name for name in ("model",) if len({labels.get(name) for labels in models}) > 1}
    several |= {
        name for name in ("tokenizer", "corpus", "recipe", "seed") if len({labels[name] for labels in adapted if labels.get(name) is not None}) > 1
    }  # fmt: skip
    trained = [labels for labels in adapted if labels.get("recipe")]
    if len({labels["alignment"] for labels in trained}) > 1:
        several.add("alignment")
    names = []
    for role, labels in labeled:
        if role == "tokenizer":
            names.append(str(labels["tokenizer"]))
            continue
        parts = [str(labels[name]) for name in ("model", "tokenizer", "corpus", "recipe") if name in several and labels.get(name)]
        if labels.get("stage") == "source":
            parts = [str(labels["model"])] if "model" in several else []
        elif labels.get("stage") == "initialized":
            parts.append(f"initialized: {labels['alignment']}")
        elif "alignment" in several:
            parts.append(str(labels["alignment"]))
        if labels.get("stage") != "initialized":
            parts.append(str(labels["stage"]))
        if "seed" in several and labels.get("seed") is not None:
            parts.append(f"seed {labels['seed']}")
        names.append(" ".join(parts))
    return names


def compare(entries: Sequence[Entry], evaluation: str, settings: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a comparison, in the order of the entries and their metrics.

    Args:
        entries: results; each must have the same items as its baseline.
        evaluation: name of the evaluation.
        settings: ``resamples``, ``seed``, ``significance``.

    Raises:
        ArtifactError: a result of this run and its baseline have different items.
    """
    results = {path: Result(path) for entry in entries for path in (entry.path, entry.baseline) if path is not None}
    own = [results[entry.path] for entry in entries]
    names = system_names([(entry.role, result.labels) for entry, result in zip(entries, own, strict=True)])
    known = dict(zip((entry.path for entry in entries), names, strict=True))
    rows: list[Row] = []
    shown: set[str] = set()
    progress = Progress("metrics compared", sum(len(result.metrics) for result in own), "metrics")
    for entry, result, name in zip(entries, own, names, strict=True):
        base = results[entry.baseline] if entry.baseline and entry.baseline != entry.path else None
        label = name if entry.origin == "measured" else f"{name} (merged: {entry.folder})"
        if entry.path in shown:  # a tokenizer that replaces those of several models
            label = f"{name} (beside {known[entry.baseline or '']})"
        shown.add(entry.path)
        other = other_items(base, result) if base is not None else None
        if other and entry.origin == "measured":
            raise ArtifactError(
                f"{entry.path}: not the same items as {entry.baseline}",
                found=other,
                expected="the same segments, questions or prompts for all systems",
                mend="delete the older of the two results and run again",
            )
        other = other or (other_measuring(base, result) if base is not None else None)
        if other:
            log.warning("warning: %s: not measured as %s (%s); no differences are given", entry.path, entry.baseline, other)
            base = None
        for metric in result.metrics:
            low, high = metric["ci95"] or (None, None)
            row = {
                "evaluation": evaluation, "suite": result.suite, "system": label, "role": entry.role, "origin": entry.origin,
                **{key: result.labels.get(key) for key in LABELS},
                **{key: metric[key] for key in (*GROUP, "metric", "value", "n", "items", "unit", "better", "level")},
                "ci_low": low, "ci_high": high,
            }  # fmt: skip
            if base is not None:
                row["baseline"] = known.get(entry.baseline or "", "source")
                row |= _difference(metric, base, result, settings)
            rows.append(row)
            progress.advance(1)
    progress.close()
    _correct(rows, settings["significance"])
    return rows


def _correct(rows: list[Row], significance: float) -> None:
    """Correct the p-values of each suite for its number of tests, and add verdicts."""
    for suite in dict.fromkeys(row["suite"] for row in rows):
        own = [row for row in rows if row["suite"] == suite and row["origin"] == "measured"]
        corrected = holm([row.get("p") for row in own])
        tests = sum(p is not None for p in corrected)
        for row, p in zip(own, corrected, strict=True):
            row["p_corrected"] = p
            row["tests"] = tests if p is not None else None
            row["verdict"] = verdict(row, significance)


def over_seeds(rows: Sequence[Row]) -> list[Row]:
    """Return mean and standard deviation over training seeds of each metric with more than one seed.

    Returns:
        Rows with labels (without ``seed``), group, ``metric``, ``mean``, ``deviation`` (n - 1), ``low``, ``high``, ``seeds``.
    """
    found: dict[tuple[Any, ...], dict[Any, float]] = {}
    keys = ("evaluation", "suite", *(label for label in LABELS if label != "seed"), *GROUP, "metric", "level")
    for row in rows:
        if row.get("seed") is not None and row["value"] is not None and row["origin"] == "measured":
            found.setdefault(tuple(row[key] for key in keys), {})[row["seed"]] = row["value"]
    return [
        {
            **dict(zip(keys, key, strict=True)),
            "mean": float(np.mean(list(values.values()))),
            "deviation": float(np.std(list(values.values()), ddof=1)),
            "low": min(values.values()),
            "high": max(values.values()),
            "seeds": len(values),
        }
        for key, values in found.items()
        if len(values) > 1
    ]


def judge(rows: Sequence[Row], criteria: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Judge the adapted models (for tokenizer metrics, the new tokenizers) by the criteria.

    Args:
        rows: rows of :func:`compare`.
        criteria: blocks of the configuration.

    Returns:
        For each criterion and each system and group it applies to: ``criterion``, ``system``, the group, ``metric``, ``value``,
        ``baseline_value``, ``loss`` (how much worse, in the unit of ``limit``; ``None`` for a relative loss from a baseline of
        0), ``limit``, ``kind`` (``relative`` or ``absolute``), ``passed``, and ``certain``: whether the whole interval of the
        difference is on the same side of the limit (``None`` without an interval).

    Raises:
        ConfigurationError: a criterion applies to nothing that was measured, or its metric has no better direction.
    """
    outcomes = []
    for criterion in criteria:
        relative = "relative_loss" in criterion
        limit = criterion["relative_loss"] if relative else criterion["absolute_loss"]
        own = [row for row in rows if row["suite"] == criterion["suite"] and row["origin"] == "measured"]
        chosen = [
            row
            for row in own
            if row["metric"] == criterion["metric"]
            and row["role"] in ("adapted", "tokenizer")
            and row.get("difference") is not None
            and all(criterion[key] in (None, row[key]) for key in GROUP)
        ]
        if not chosen:
            raise ConfigurationError(
                f"criterion {criterion['name']!r}: nothing was measured that it speaks of",
                found={key: criterion[key] for key in ("suite", "metric", *GROUP) if criterion[key]},
                expected=f"one of the metrics {', '.join(sorted({row['metric'] for row in own})) or '(none)'}, for an adapted model "
                "that is compared with its source",
                mend="correct the criterion, or measure source and adapted in that suite",
            )
        for row in chosen:
            if row["better"] == "neither":
                raise ConfigurationError(
                    f"criterion {criterion['name']!r}: the metric {row['metric']} has no better direction",
                    expected="another metric",
                )
            sign = 1 if row["better"] == "lower" else -1
            unit = abs(row["baseline_value"]) if relative else 1.0
            # A relative loss from a baseline of 0 is 0 if nothing was lost, and otherwise unbounded: None.
            loss = sign * row["difference"] / unit if unit else 0.0 if sign * row["difference"] <= 0 else None
            ends = [
                sign * row[key] / unit for key in ("difference_ci_low", "difference_ci_high") if row.get(key) is not None and unit
            ]
            passed = loss is not None and loss <= limit
            certain = all((end <= limit) == passed for end in ends) if ends else None
            outcomes.append(
                {
                    "criterion": criterion["name"],
                    "suite": row["suite"],
                    "system": row["system"],
                    **{key: row[key] for key in GROUP},
                    "metric": row["metric"],
                    "value": row["value"],
                    "baseline_value": row["baseline_value"],
                    "loss": loss,
                    "limit": limit,
                    "kind": "relative" if relative else "absolute",
                    "passed": passed,
                    "certain": certain,
                    "unit": row["unit"],
                }
            )
    return outcomes


def merged_entries(folder: str | Path, measured: Sequence[Entry]) -> Iterator[Entry]:
    """Yield the results of another run's evaluation; their baselines are this run's source models.

    Args:
        folder: ``results/evaluations/NAME`` of the other run.
        measured: entries of this run and those merged before.

    Raises:
        InputError: the folder has no result, or one that is already in the comparison.
    """
    sources = {}
    for entry in measured:
        if entry.role == "source" and entry.origin == "measured":
            result = Result(entry.path)
            sources[result.suite, result.labels["model"]] = entry.path
    paths = [path for path in sorted(Path(folder).rglob("*.json")) if path.with_suffix(".parquet").is_file()]
    if not paths:
        raise InputError(
            f"{folder}: no results of an evaluation there",
            expected="SUITE/.../*.json with .parquet beside",
            mend="correct the path",
        )
    known = {Path(entry.path).resolve() for entry in measured}
    for path in paths:
        if path.resolve() in known:
            raise InputError(
                f"comparison.merge: {folder}: a result there takes part already", found=path,
                expected="a folder of another run, named once", mend="take the folder out of `merge`",
            )  # fmt: skip
        result = Result(str(path))
        role = "tokenizer" if "model" not in result.labels else "source" if result.labels.get("stage") == "source" else "stage"
        yield Entry(str(path), role, sources.get((result.suite, result.labels.get("model"))), "merged", str(folder))


def published_rows(path: str | Path, evaluation: str) -> list[Row]:
    """Read published numbers as reference rows.

    Args:
        path: CSV with the columns ``PUBLISHED_REQUIRED`` and any of ``COLUMNS``; ``citation`` names the source of a number.
        evaluation: name of the evaluation.

    Raises:
        InputError: a column is missing or unknown, a value is not a number, or a row lacks its value or citation.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in PUBLISHED_REQUIRED if name not in (reader.fieldnames or [])]
        unknown = [name for name in reader.fieldnames or [] if name not in (*COLUMNS, *PUBLISHED_REQUIRED)]
        if missing or unknown:
            raise InputError(
                f"{path}: {'no column ' + missing[0] if missing else 'unknown column ' + unknown[0]}",
                found=", ".join(reader.fieldnames or []), expected=", ".join(PUBLISHED_REQUIRED) + " and columns of comparison.csv",
            )  # fmt: skip
        rows = []
        for number, line in enumerate(reader, start=2):
            row: Row = {key: text or None for key, text in line.items() if key in COLUMNS}
            for key in ("value", "ci_low", "ci_high", "n", "baseline_value", "difference"):
                if row.get(key) is None:
                    continue
                try:
                    row[key] = float(row[key])
                except ValueError as error:
                    raise InputError(f"{path}: line {number}: {key} is no number", found=row[key]) from error
                if not math.isfinite(row[key]):
                    raise InputError(f"{path}: line {number}: {key} is no number", found=line[key], mend="leave it empty")
            if row.get("value") is None or not line["citation"]:
                raise InputError(f"{path}: line {number}: no {'citation' if row.get('value') else 'value'}", expected="both")
            defaults = {
                "dataset": "",
                "condition": "",
                "language": "all",
                "domain": "all",
                "better": "neither",
                "role": "published",
            }
            row = {**defaults, **{key: value for key, value in row.items() if value is not None}}
            row |= {
                "evaluation": evaluation,
                "origin": "published",
                "system": f"{line['system']} (published: {line['citation']})",
            }
            rows.append(row)
    return rows


def runs(entries: Sequence[Entry]) -> list[Row]:
    """Return how each result was made: suite, labels, seconds, device, precision, digests, versions."""
    found = []
    for entry in {entry.path: entry for entry in entries}.values():
        content = read_result(entry.path)
        row = {key: content.get(key) for key in ("suite", "labels", "seconds", "device", "precision", "digests", "versions")}
        found.append(
            {**row, "role": entry.role, "origin": entry.origin, "exploratory": content["more"].get("exploratory", False)}
        )
    return found
