"""Orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad 1993): rows as sparse combinations."""

from __future__ import annotations

from threading import local

import numpy as np
from numba import njit

from tokalign.alignment.search.similarity import QUERY_ROWS, Scanner, blocks_of, in_blocks

DEPENDENT = 1e-6
"""Least squared distance of a new unit-length atom from the span of the chosen ones; a closer atom adds nothing."""


@njit(nogil=True, cache=True)
def solve_cholesky(gram, right, factor, weights):
    """Solve gram @ weights = right by Cholesky; return False if atoms are dependent."""
    n = len(right)
    for i in range(n):
        for j in range(i + 1):
            value = gram[i, j]
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            if i == j:
                if value < DEPENDENT:
                    return False
                factor[i, i] = np.sqrt(value)
            else:
                factor[i, j] = value / factor[j, j]
    for i in range(n):
        value = right[i]
        for k in range(i):
            value -= factor[i, k] * weights[k]
        weights[i] = value / factor[i, i]
    for i in range(n - 1, -1, -1):
        value = weights[i]
        for k in range(i + 1, n):
            value -= factor[k, i] * weights[k]
        weights[i] = value / factor[i, i]
    return True


@njit(nogil=True, cache=True)
def solve_nonnegative(gram, right, factor, weights):
    """Minimize |x - A w| over w >= 0 for gram = A'A, right = A'x (Lawson and Hanson 1974, chapter 23).

    Returns:
        False if atoms are linearly dependent; otherwise ``weights`` are set.
    """
    n = len(right)
    free = np.zeros(n, np.bool_)
    weights[:n] = 0
    for _ in range(3 * n + 3):
        best, gain = -1, 1e-10
        for i in range(n):
            if not free[i]:
                slope = right[i]
                for k in range(n):
                    slope -= gram[i, k] * weights[k]
                if slope > gain:
                    best, gain = i, slope
        if best < 0:
            return True
        free[best] = True
        while True:
            chosen = np.flatnonzero(free)
            m = len(chosen)
            own = np.empty((m, m))
            for i in range(m):
                for j in range(m):
                    own[i, j] = gram[chosen[i], chosen[j]]
            trial = np.empty(m)
            if not solve_cholesky(own, right[chosen], factor, trial):
                return False
            if (trial > 0).all():
                for i in range(m):
                    weights[chosen[i]] = trial[i]
                break
            step = 1.0
            for i in range(m):
                if trial[i] <= 0:
                    step = min(step, weights[chosen[i]] / (weights[chosen[i]] - trial[i]))
            for i in range(m):
                value = weights[chosen[i]] + step * (trial[i] - weights[chosen[i]])
                weights[chosen[i]] = value if value > 1e-9 else 0.0
                free[chosen[i]] = weights[chosen[i]] > 0
    return True


@njit(nogil=True, cache=True)
def _extend(queries, keys, where, products, tolerance, nonnegative, round_, chosen, weights, residuals, active):
    """Add an atom to each active row's code and solve for weights; deactivate finished rows."""
    size, dimensions = chosen.shape[1], queries.shape[1]
    gram, factor = np.empty((size, size)), np.zeros((size, size))
    right, trial = np.empty(size), np.empty(size)
    n = round_ + 1
    for i in range(len(queries)):
        if not active[i]:
            continue
        atom = where[i, 0]
        known = False
        for k in range(round_):
            known = known or chosen[i, k] == atom
        if atom < 0 or known or products[i, 0] <= 0:
            active[i] = False
            continue
        chosen[i, round_] = atom
        for a in range(n):
            key = keys[chosen[i, a]]
            total = 0.0
            for x in range(dimensions):
                total += np.float64(key[x]) * queries[i, x]
            right[a] = total
            for b in range(a + 1):
                other = keys[chosen[i, b]]
                total = 0.0
                for x in range(dimensions):
                    total += np.float64(key[x]) * other[x]
                gram[a, b] = total
                gram[b, a] = total
        if nonnegative:
            solved = solve_nonnegative(gram[:n, :n], right[:n], factor, trial[:n])
        else:
            solved = solve_cholesky(gram[:n, :n], right[:n], factor, trial[:n])
        if not solved:
            chosen[i, round_] = -1
            active[i] = False
            continue
        weights[i, :n] = trial[:n]
        square = 0.0
        for x in range(dimensions):
            value = np.float64(queries[i, x])
            for a in range(n):
                value -= trial[a] * keys[chosen[i, a], x]
            residuals[i, x] = value
            square += value * value
        if square <= tolerance * tolerance:
            active[i] = False


def sparse_codes(
    queries: np.ndarray, keys: np.ndarray, nonzeros: int, tolerance: float, nonnegative: bool, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Approximate each query by a combination of at most ``nonzeros`` keys.

    In each round a query takes the key that has the greatest absolute product with its residual (the greatest product if
    weights may not be negative), and all its weights are solved for again by least squares. Products with all keys are computed
    in blocks (``similarity``), so the dictionary's Gram matrix is never stored; sums of the least squares are float64.

    Args:
        queries: float32 rows of length 1 (or 0), shape (n, d).
        keys: the dictionary, float32 rows of length 1 (or 0), shape (m, d).
        nonzeros: most keys per query.
        tolerance: a query is done when its residual is not longer than this.
        nonnegative: whether weights must be at least 0 (Bruckstein, Elad and Zibulevsky 2008).
        threads: number of threads; the result does not depend on it.

    Returns:
        Positions of keys int64 (n, nonzeros), -1 after the last; weights float64 (n, nonzeros), 0 there; and the lengths of
        the residuals, float64 (n,).
    """
    blocks = blocks_of(keys)
    offsets = np.zeros(len(keys), np.float32)
    chosen = np.full((len(queries), nonzeros), -1, np.int64)
    weights = np.zeros((len(queries), nonzeros))
    left = np.empty(len(queries))
    own = local()

    def work(start: int, end: int) -> None:
        if not hasattr(own, "scanner"):
            own.scanner = Scanner(blocks, len(keys), offsets)
        part = queries[start:end]
        residuals = part.copy()
        active = np.linalg.norm(part, axis=1) > tolerance
        rows, none = np.arange(QUERY_ROWS), np.zeros(QUERY_ROWS, np.float32)
        where, products = np.empty((len(part), 1), np.int64), np.empty((len(part), 1), np.float32)
        for number in range(nonzeros):
            asked = np.flatnonzero(active)
            if not len(asked):
                break
            found, best = where[: len(asked)], products[: len(asked)]
            own.scanner.best(residuals[asked], rows[: len(asked)], none[: len(asked)], found, best, sign=int(nonnegative))
            every, values = np.full((len(part), 1), -1, np.int64), np.zeros((len(part), 1), np.float32)
            every[asked], values[asked] = found, best
            _extend(
                part,
                keys,
                every,
                values,
                tolerance,
                nonnegative,
                number,
                chosen[start:end],
                weights[start:end],
                residuals,
                active,
            )
        left[start:end] = np.linalg.norm(residuals.astype(np.float64), axis=1)

    for _ in in_blocks(len(queries), work, threads, "coded"):
        pass
    return chosen, weights, left
