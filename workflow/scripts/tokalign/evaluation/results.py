"""Result files of the evaluations: one format for all suites, so that all results can be compared in one way.

A result is two files. The JSON holds ``suite``, ``labels``, ``settings``, ``metrics``, ``digests``, ``versions``, ``device``,
``precision``, ``seconds`` and, under ``more``, what the suite adds. The Parquet file of the same name holds one row per item
(document, segment, question, prompt): ``ITEM_COLUMNS``, then numbers (a list of numbers counts as several columns), then text
for readers, such as generated text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel

from tokalign.common.errors import ArtifactError
from tokalign.common.files import atomic_file, read_json, sha256_file, write_json
from tokalign.evaluation.columns import ALL, ITEM_COLUMNS
from tokalign.evaluation.statistics.bootstrap import RESAMPLES, SEED, intervals
from tokalign.evaluation.statistics.estimators import ESTIMATORS

METRIC_KEYS = (
    "metric", "dataset", "condition", "language", "domain", "value", "ci95", "n", "items", "unit", "better", "level",
)  # fmt: skip
RESULT_KEYS = ("suite", "labels", "settings", "metrics", "digests", "versions", "device", "precision", "seconds", "more")
DIGESTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


@dataclass(frozen=True)
class Measure:
    """A metric that is ``scale * estimator(sum of columns over items)``.

    Attributes:
        metric: name of the metric.
        estimator: key of ``ESTIMATORS``.
        columns: columns of the items; a column of lists counts as several.
        unit: unit of the value, such as ``bits/byte``.
        better: ``lower``, ``higher`` or ``neither``.
        level: ``corpus`` if it is estimated from sums, ``item`` if it is a mean over items.
        scale: factor.
    """

    metric: str
    estimator: str
    columns: tuple[str, ...]
    unit: str
    better: str
    level: str = "corpus"
    scale: float = 1.0


def statistics(items: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Return columns of items side by side, float64, shape (items, columns); a column of lists becomes several.

    Raises:
        ArtifactError: a column is missing.
    """
    missing = [name for name in columns if name not in items.column_names]
    if missing:
        raise ArtifactError(
            "items of an evaluation: no column that a metric is made of", found=", ".join(items.column_names), expected=missing[0],
            mend="make the result again: its JSON and its Parquet file do not belong together",
        )  # fmt: skip
    parts = []
    for name in columns:
        column = items.column(name).combine_chunks()
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
            values = np.array(column.to_pylist(), dtype=np.float64).reshape(len(column), -1)
        else:
            values = column.to_numpy(zero_copy_only=False).astype(np.float64)[:, None]
        parts.append(values)
    return np.hstack(parts)


def groups_of(items: pa.Table) -> list[tuple[tuple[str, str, str, str], np.ndarray]]:
    """Return the groups that get metrics: each dataset and condition as a whole, then by language and domain.

    Returns:
        Pairs of (dataset, condition, language, domain) and the indices of the items, int64; ``ALL`` stands for the whole. If a
        dataset has one language and one domain, the whole carries their names and is not repeated.
    """
    keys = [np.array(items.column(name).to_pylist(), dtype=object) for name in ITEM_COLUMNS[:4]]
    groups = []
    for dataset, condition in dict.fromkeys(zip(keys[0], keys[1], strict=True)):
        whole = np.flatnonzero((keys[0] == dataset) & (keys[1] == condition))
        parts = sorted(set(zip(keys[2][whole], keys[3][whole], strict=True)))
        if len(parts) == 1:
            groups.append(((dataset, condition, *parts[0]), whole))
            continue
        groups.append(((dataset, condition, ALL, ALL), whole))
        for language, domain in parts:
            chosen = whole[(keys[2][whole] == language) & (keys[3][whole] == domain)]
            groups.append(((dataset, condition, language, domain), chosen))
    return groups


def metrics_of(items: pa.Table, measures: Sequence[Measure], items_are: str) -> list[dict[str, Any]]:
    """Compute each measure of each group of items, with bootstrap intervals.

    Args:
        items: table with ``ITEM_COLUMNS`` and the columns of the measures.
        measures: what to compute.
        items_are: what the items are, such as ``documents``.

    Returns:
        Dictionaries with ``METRIC_KEYS`` and ``estimator``, ``columns``, ``scale``; ``value`` is ``None`` if undefined.
    """
    groups = groups_of(items)
    parts = [statistics(items, measure.columns) for measure in measures]
    ends = np.cumsum([part.shape[1] for part in parts]).tolist()
    columns = [slice(end - part.shape[1], end) for end, part in zip(ends, parts, strict=True)]
    numbers = np.hstack(parts)
    wanted = [(where, ESTIMATORS[measure.estimator], measure.scale) for where, measure in zip(columns, measures, strict=True)]
    drawn = [intervals(numbers[chosen], wanted) for _, chosen in groups]
    found = []
    for index, (measure, (where, estimate, scale)) in enumerate(zip(measures, wanted, strict=True)):
        for ((dataset, condition, language, domain), chosen), bounds in zip(groups, drawn, strict=True):
            value = float(scale * estimate(numbers[chosen, where].sum(0)))
            found.append(
                {
                    "dataset": dataset,
                    "condition": condition,
                    "language": language,
                    "domain": domain,
                    **{key: value for key, value in asdict(measure).items() if key != "columns"},
                    "columns": list(measure.columns),
                    "value": value if np.isfinite(value) else None,
                    "ci95": bounds[index],
                    "n": len(chosen),
                    "items": items_are,
                }
            )
    return found


def check_items(items: pa.Table, where: str) -> None:
    """Check that items have ``ITEM_COLUMNS`` and unique names.

    Raises:
        ArtifactError: a column or all rows are missing, or a name occurs twice.
    """
    missing = [name for name in ITEM_COLUMNS if name not in items.column_names]
    if missing or not items.num_rows:
        raise ArtifactError(
            f"{where}: not items of an evaluation",
            found=f"{items.num_rows} rows with columns {items.column_names}",
            expected=f"rows with {', '.join(ITEM_COLUMNS)}",
            mend="make the result again",
        )
    seen: set[tuple[str, ...]] = set()
    for key in zip(*(items.column(name).to_pylist() for name in ITEM_COLUMNS), strict=True):
        if key in seen:
            raise ArtifactError(f"{where}: an item is there twice", found=key, expected="unique names", mend="make it again")
        seen.add(key)


def digest_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a model or tokenizer folder.

    Raises:
        ArtifactError: there is neither.
    """
    path = Path(path)
    if path.is_file():
        return sha256_file(path)
    files = sorted({file for pattern in DIGESTED for file in path.glob(pattern)})
    if not files:
        raise ArtifactError(f"{path}: nothing to digest", expected="a file, or a folder of a model or tokenizer")
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.name}\0{sha256_file(file)}\n".encode())
    return whole.hexdigest()


def items_path(result: str | Path) -> Path:
    """Return the path of the Parquet file beside a result's JSON."""
    return Path(result).with_suffix(".parquet")


def write_result(
    output: str | Path,
    *,
    suite: str,
    labels: Mapping[str, Any],
    settings: Mapping[str, Any],
    items: pa.Table,
    metrics: Sequence[Mapping[str, Any]],
    digests: Mapping[str, str],
    versions: Mapping[str, str],
    device: str,
    precision: str | None,
    seconds: float,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write the two files of a result, the items first.

    Args:
        output: the JSON file; the items go beside it.
        suite: name of the suite.
        labels: what was evaluated.
        settings: settings of the suite.
        items: what was measured on each item.
        metrics: dictionaries with ``METRIC_KEYS``, from :func:`metrics_of` or from the suite itself.
        digests: SHA-256 of model, tokenizer and data.
        versions: versions of the libraries used.
        device: ``cpu`` or the name of the GPU.
        precision: data type of the arithmetic, ``None`` without a model.
        seconds: time of the measurement.
        more: details that only this suite reports.

    Raises:
        ArtifactError: items have no names, or the same name twice.
    """
    check_items(items, str(items_path(output)))
    with atomic_file(items_path(output)) as partial:
        pq.write_table(items, partial, compression="zstd")
    write_json(
        output,
        {
            "suite": suite,
            "labels": dict(labels),
            "settings": dict(settings),
            "metrics": [dict(metric) for metric in metrics],
            "digests": dict(digests),
            "versions": dict(versions),
            "device": device,
            "precision": precision,
            "seconds": seconds,
            "bootstrap": {"resamples": RESAMPLES, "seed": SEED},
            "more": dict(more or {}),
        },
    )


def read_result(path: str | Path) -> dict[str, Any]:
    """Read the JSON of a result.

    Raises:
        ArtifactError: it is missing, damaged, or not a result (of this version).
    """
    result = read_json(path)
    keys = result if isinstance(result, dict) else ()
    missing = [key for key in RESULT_KEYS if key not in keys]
    if not missing:
        missing = [f"metrics[].{key}" for metric in result["metrics"] for key in METRIC_KEYS if key not in metric][:1]
    if missing:
        raise ArtifactError(
            f"{path}: not the result of an evaluation", found=f"no {missing[0]}", expected="the form that this version writes",
            mend="make it again; of another run, with the same version of the workflow",
        )  # fmt: skip
    return result


def read_items(path: str | Path) -> pa.Table:
    """Read the items of a result, given its JSON file.

    Raises:
        ArtifactError: they are missing or damaged.
    """
    file = items_path(path)
    try:
        items = pq.read_table(file)
    except FileNotFoundError as error:
        raise ArtifactError(f"{file}: no such file", expected="it beside its JSON", mend="make the result again") from error
    except pa.ArrowException as error:
        raise ArtifactError(f"{file}: not a readable Parquet file", found=error, mend="make the result again") from error
    check_items(items, str(file))
    return items


def circumstances(model: PreTrainedModel, *libraries: str) -> dict[str, Any]:
    """Return how a model is measured: ``versions``, ``device`` and ``precision``.

    Args:
        model: the measured model.
        libraries: distributions used besides torch and transformers.
    """
    return {
        "versions": {name: version(name) for name in ("torch", "transformers", *libraries)},
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else "cpu",
        "precision": str(model.dtype).removeprefix("torch."),
    }
