"""Rows without source tokens: mean, zero, or drawn from the source rows' distribution.

Such a row would be a dense row of A, so the alignment stores a code instead and the initialization makes the row.
"""

from __future__ import annotations

import numpy as np

FILLS = {"none": 0, "mean": 1, "zero": 2, "normal": 3}
"""Code of each kind of row in an alignment's ``fill``; ``none`` is a row of A."""

BLOCK_ROWS = 4096


def moments(source_rows: np.ndarray, ordinary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and population standard deviation of each dimension over the ordinary rows.

    Args:
        source_rows: float32, shape (at least |V_source|, d).
        ordinary: bool, shape (|V_source|,), at least one of them true.

    Returns:
        Two float64 arrays, shape (d,). Sums run in blocks of rows, in float64, so memory stays bounded.
    """
    chosen = np.flatnonzero(ordinary)
    blocks = [chosen[start : start + BLOCK_ROWS] for start in range(0, len(chosen), BLOCK_ROWS)]
    mean = sum(source_rows[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(chosen)
    squares = sum(np.square(source_rows[block] - mean).sum(axis=0) for block in blocks)
    return mean, np.sqrt(squares / len(chosen))


def fill_block(
    rows: np.ndarray, ids: np.ndarray, fill: np.ndarray, of_source: tuple[np.ndarray, np.ndarray], seed: int, stream: int
) -> None:
    """Fill the rows that an alignment leaves to the initialization, in place.

    ``mean`` is the mean of the ordinary source rows, ``zero`` zeros, ``normal`` a draw from N(mean, std) of each dimension over
    the ordinary source rows (FVT's fallback, Gee et al. 2022 and tokenkit). A draw depends only on the seed, the stream and the
    token's id, not on the other tokens.

    Args:
        rows: rows of some target tokens, float32, shape (n, d), or (n,) for a bias; written to.
        ids: ids of these tokens, int64, shape (n,).
        fill: codes of ``FILLS`` of these tokens, int8, shape (n,).
        of_source: mean and standard deviation of the source rows, from ``moments``.
        seed: seed of the alignment.
        stream: a different number for each matrix of a model (0 input embedding, 1 LM head, 2 its bias).
    """
    mean, std = of_source
    rows[fill == FILLS["zero"]] = 0
    rows[fill == FILLS["mean"]] = mean
    for place in np.flatnonzero(fill == FILLS["normal"]).tolist():
        generator = np.random.Generator(np.random.PCG64([seed, stream, int(ids[place])]))
        rows[place] = mean + std * generator.standard_normal(mean.shape)
