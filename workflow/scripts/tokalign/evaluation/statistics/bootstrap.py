"""Confidence intervals and paired tests by resampling items, for every metric that is a function of sums over items."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tokalign.evaluation.statistics.estimators import Estimator, ratio

RESAMPLES = 1000
SEED = 42
BLOCK_BYTES = 64_000_000
RARE = 10
"""Number of extreme permutations below which their count is too coarse for a p-value."""
JACKKNIFE_GROUPS = 20
"""Groups of the delete-a-group jackknife, for metrics that are not functions of sums."""


def _draws(items: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each item is drawn, in blocks of shape (resamples, items), float64."""
    random = np.random.default_rng(seed)
    block = max(1, BLOCK_BYTES // (8 * items))
    for start in range(0, resamples, block):
        yield random.multinomial(items, np.full(items, 1 / items), size=min(block, resamples - start)).astype(np.float64)


def _quantiles(values: np.ndarray) -> list[float] | None:
    """Return the 2.5 % and 97.5 % quantiles, or ``None`` if a value is not finite."""
    if not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return [float(low), float(high)]


def interval(
    statistics: np.ndarray, estimator: Estimator, *, scale: float = 1.0, resamples: int = RESAMPLES, seed: int = SEED
) -> list[float] | None:
    """Return a 95 % interval of ``scale * estimator(sum of statistics)``, resampling items.

    Percentile bootstrap (Efron 1979): items are drawn with replacement, and the metric is recomputed from the sums.

    Args:
        statistics: shape (items, columns), float64.
        estimator: one of ``ESTIMATORS``.
        scale: factor, such as a change of unit.
        resamples: number of resamples.
        seed: seed of the draws.

    Returns:
        The 2.5 % and 97.5 % quantiles, or ``None`` if there are fewer than two items or a resample has no value.
    """
    return intervals(statistics, [(slice(None), estimator, scale)], resamples=resamples, seed=seed)[0]


def intervals(
    statistics: np.ndarray,
    metrics: Sequence[tuple[slice, Estimator, float]],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[list[float] | None]:
    """Return an interval for each metric of the same items, as :func:`interval` does, with shared draws.

    Args:
        statistics: columns of all metrics, shape (items, columns), float64.
        metrics: columns, estimator and scale of each metric.
        resamples: number of resamples.
        seed: seed of the draws.
    """
    if len(statistics) < 2:
        return [None] * len(metrics)
    values: list[list[np.ndarray]] = [[] for _ in metrics]
    for times in _draws(len(statistics), resamples, seed):
        sums = times @ statistics
        for found, (columns, estimator, scale) in zip(values, metrics, strict=True):
            found.append(scale * estimator(sums[:, columns]))
    return [_quantiles(np.concatenate(found)) for found in values]


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike, *, scale: float = 1.0) -> list[float] | None:
    """Return a 95 % interval of ``scale * sum(numerators) / sum(denominators)``; see :func:`interval`.

    Args:
        numerators: one number per document, shape (documents,).
        denominators: likewise, not negative.
        scale: factor, such as a change of unit.
    """
    return interval(np.column_stack([numerators, denominators]).astype(np.float64), ratio, scale=scale)


@dataclass(frozen=True)
class PairedDifference:
    """How a metric differs between two systems on the same items.

    Attributes:
        difference: second minus first.
        ci95: its bootstrap interval, with the same items drawn for both systems; ``None`` if undefined.
        p: two-sided p-value of an approximate permutation test that swaps the systems item by item (Noreen 1989; Riezler and
            Maxwell 2005). If fewer than ``RARE`` permutations are as extreme, a normal tail with their standard deviation is
            used if it is smaller, but never less than 2 / 2^items, the exact minimum. (A count cannot fall below
            1 / (resamples + 1), which no correction for many tests survives.) ``None`` if undefined.
    """

    difference: float
    ci95: list[float] | None
    p: float | None


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    estimator: Estimator,
    *,
    scale: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> PairedDifference:
    """Compare two systems by a metric of sums over the same items.

    Args:
        first: statistics, shape (items, columns), float64.
        second: likewise, row i for the same item.
        estimator: one of ``ESTIMATORS``.
        scale: factor, such as a change of unit.
        resamples: number of bootstrap resamples, and of permutations.
        seed: seed of both.
    """
    sums = np.stack([first.sum(0), second.sum(0)])
    values = scale * estimator(sums)
    difference = float(values[1] - values[0])
    if len(first) < 2 or not np.isfinite(difference):
        return PairedDifference(difference, None, None)
    drawn = [scale * (estimator(times @ second) - estimator(times @ first)) for times in _draws(len(first), resamples, seed)]
    # A permutation with the same two values adds them in another order: without slack, rounding would hide such a tie.
    least = abs(difference) - 1e-12 * float(np.abs(values).max())
    random = np.random.default_rng(seed)
    change = second - first
    block = max(1, BLOCK_BYTES // (8 * len(first)))
    parts = []
    for start in range(0, resamples, block):
        swapped = random.integers(0, 2, size=(min(block, resamples - start), len(first)), dtype=np.int8).astype(np.float64)
        moved = swapped @ change
        parts.append(scale * (estimator(sums[1] - moved) - estimator(sums[0] + moved)))
    permuted = np.concatenate(parts)
    ends = _quantiles(np.concatenate(drawn))
    if not np.isfinite(permuted).all():
        return PairedDifference(difference, ends, None)
    extreme = int((np.abs(permuted) >= least).sum())
    p = (1 + extreme) / (1 + resamples)
    spread = float(np.sqrt((permuted**2).mean()))  # about 0, the center of the distribution
    if extreme < RARE and spread > 0:
        p = min(p, max(math.erfc(abs(difference) / spread / math.sqrt(2)), 2.0 ** (1 - len(first))))
    return PairedDifference(difference, ends, p)


def jackknife_interval(value: float, replicates: ArrayLike) -> list[float]:
    """Return a 95 % interval of a metric from its values with one group of items left out at a time.

    Delete-a-group jackknife (Kott 2001): variance (g - 1) / g x sum of squared deviations of the replicates from their mean, with
    a normal interval. For metrics that are not functions of sums, such as distinct n-grams: drawing items with replacement would
    repeat n-grams.

    Args:
        value: metric of all items.
        replicates: shape (g,), g at least 2.
    """
    half = 1.959964 * jackknife_error(replicates)
    return [float(value - half), float(value + half)]


def jackknife_error(replicates: ArrayLike) -> float:
    """Return the standard error that :func:`jackknife_interval` uses."""
    values = np.asarray(replicates, dtype=np.float64)
    groups = len(values)
    return float(np.sqrt((groups - 1) / groups * ((values - values.mean()) ** 2).sum()))


def repeats_interval(values: ArrayLike) -> list[float]:
    """Return a 95 % interval of the mean of repeated measurements, from Student's t distribution.

    Args:
        values: shape (n,), n at least 2.
    """
    repeats = np.asarray(values, dtype=np.float64)
    half = stats.t.ppf(0.975, len(repeats) - 1) * repeats.std(ddof=1) / np.sqrt(len(repeats))
    return [float(repeats.mean() - half), float(repeats.mean() + half)]


def holm(p_values: list[float | None]) -> list[float | None]:
    """Adjust p-values for multiple testing (Holm 1979); ``None`` stays and does not count."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[index] = highest
    return adjusted
