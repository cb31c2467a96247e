"""Confidence intervals of corpus-level ratios by a seeded bootstrap over documents."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 1000
SEED = 42
BLOCK_BYTES = 64_000_000


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike, *, scale: float = 1.0) -> list[float] | None:
    """Return a 95 % interval of ``scale * sum(numerators) / sum(denominators)``, resampling documents.

    Percentile bootstrap (Efron 1979): documents are drawn with replacement ``RESAMPLES`` times with seed ``SEED``, and
    the ratio of the sums is taken anew each time, so the interval belongs to the corpus-level ratio.

    Args:
        numerators: one number per document, shape (documents,).
        denominators: likewise, not negative.
        scale: factor such as a change of unit.

    Returns:
        The 2.5 % and 97.5 % quantiles, or ``None`` for fewer than two documents or a resample without denominator.
    """
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    documents = len(above)
    if documents < 2:
        return None
    random = np.random.default_rng(SEED)
    block = max(1, BLOCK_BYTES // (8 * documents))
    ratios = []
    for start in range(0, RESAMPLES, block):
        times = random.multinomial(documents, np.full(documents, 1 / documents), size=min(block, RESAMPLES - start))
        divisor = times @ below
        if not divisor.all():
            return None
        ratios.append(times @ above / divisor)
    low, high = scale * np.quantile(np.concatenate(ratios), [0.025, 0.975])
    return [float(low), float(high)]
