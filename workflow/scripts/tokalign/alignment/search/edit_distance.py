"""Search for the nearest byte string by Levenshtein distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from tokalign.common.progress import Progress

BLOCK_BYTES = 64_000_000
"""Memory of the distances that are held at a time."""


def nearest_strings(
    queries: Sequence[bytes], strings: Sequence[bytes], ranks: np.ndarray, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return each query's nearest string by Levenshtein distance; ties go to the least rank.

    Args:
        queries: non-empty strings.
        strings: one or more non-empty strings.
        ranks: ranks of the strings, all different, int64.
        threads: number of threads; the result does not depend on it.

    Returns:
        Positions of strings and distances, both int64, shape (len(queries),).
    """
    order = np.argsort(ranks)
    ordered = [strings[i] for i in order]
    where, distances = np.empty(len(queries), np.int64), np.empty(len(queries), np.int64)
    block = max(1, BLOCK_BYTES // (4 * len(strings)))
    progress = Progress("compared", len(queries), "tokens")
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        matrix = cdist(queries[rows], ordered, scorer=Levenshtein.distance, dtype=np.int32, workers=threads)
        where[rows] = matrix.argmin(axis=1)  # the first if tied
        distances[rows] = matrix.min(axis=1)
        progress.advance(len(matrix))
    progress.close()
    return order[where], distances
