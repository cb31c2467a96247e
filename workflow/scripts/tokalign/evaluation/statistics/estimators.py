"""Metrics as functions of sums: the numbers of all items are summed, and an estimator turns the sums into the metric.

So one bootstrap and one permutation test serve all metrics: they draw items, sum, and estimate. The result is for the
corpus-level metric, never for a mean of values per item, unless the metric is such a mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Estimator = Callable[[np.ndarray], np.ndarray]
"""Takes sums, float64, shape (..., columns); returns the metric, float64, shape (...), NaN where undefined."""


def ratio(sums: np.ndarray) -> np.ndarray:
    """Return the first column over the second; NaN where the second is 0."""
    below = sums[..., 1]
    return np.divide(sums[..., 0], below, out=np.full(below.shape, np.nan), where=below != 0)


def exp_ratio(sums: np.ndarray) -> np.ndarray:
    """Return the exponential of :func:`ratio` (a perplexity); NaN where that is NaN, infinite above e^709."""
    with np.errstate(over="ignore"):
        return np.exp(ratio(sums))


def _each(score: Callable[[list[float]], float]) -> Estimator:
    """Make an estimator from a function of one row of sums."""

    def estimate(sums: np.ndarray) -> np.ndarray:
        rows = sums.reshape(-1, sums.shape[-1])
        return np.array([score(row.tolist()) for row in rows], dtype=np.float64).reshape(sums.shape[:-1])

    return estimate


BLEU_COLUMNS = 10
"""Hypothesis and reference length, then matches and totals of 1- to 4-grams, as sacrebleu orders them."""
CHRF_COLUMNS = 24
"""For character 1- to 6-grams and word 1- and 2-grams: n-grams of the hypothesis, of the reference, and of both."""
TER_COLUMNS = 2
"""Edits and reference words."""


def bleu_of(row: list[float]) -> float:
    """Return BLEU in percent from the sums of ``BLEU_COLUMNS``, with sacrebleu's default (exponential smoothing)."""
    from sacrebleu.metrics import BLEU

    return BLEU.compute_bleu(correct=row[2:6], total=row[6:], sys_len=int(row[0]), ref_len=int(row[1]), smooth_method="exp").score


def chrf_of(row: list[float]) -> float:
    """Return chrF++ in percent (character 1- to 6-grams, word 1- and 2-grams, beta 2) from the sums of ``CHRF_COLUMNS``."""
    from sacrebleu.metrics import CHRF

    return CHRF(word_order=2)._compute_f_score(row)


def ter_of(row: list[float]) -> float:
    """Return the translation edit rate in percent from the sums of ``TER_COLUMNS``; 100 for edits without a reference."""
    edits, words = row
    return 100 * (edits / words if words else 1.0 if edits else 0.0)


def chrf_delta_of(row: list[float]) -> float:
    """Return chrF++ minus BLEU from the sums of both; exploratory [tokalign-baseline]."""
    return chrf_of(row[:CHRF_COLUMNS]) - bleu_of(row[CHRF_COLUMNS:])


ESTIMATORS: dict[str, Estimator] = {
    "ratio": ratio,
    "exp_ratio": exp_ratio,
    "bleu": _each(bleu_of),
    "chrf": _each(chrf_of),
    "ter": _each(ter_of),
    "chrf_delta": _each(chrf_delta_of),
}
"""Estimators by their name in result files."""
