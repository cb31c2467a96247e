"""GloVe vectors (Pennington, Socher and Manning 2014), identical for any number of threads.

The objective is the sum over the non-zeros X[i, j] of ``f(X) / 2 * (w[i] @ c[j] + a[i] + b[j] - ln X) ** 2`` with
``f(X) = min(1, (X / x_max) ** alpha)``; each non-zero in turn makes one AdaGrad step. Steps, start values and the result
(sums of word and context vectors) are those of Stanford's ``glove.c`` (release 1.2), in float32 instead of float64:
gradients are clipped at 100, squared gradients start at 1, and biases take steps without the learning rate.

Unlike in ``glove.c``, threads do not race: the matrix is divided into blocks of rows and columns whose vectors fit into a
core's cache. Round d trains the blocks (r, r + d modulo the number of blocks), which share no vector, in parallel. The order
of rounds is seeded and differs between iterations. Within a block, non-zeros are visited row by row, so that the vectors of
a row stay in the nearest cache. Blocks hold about equally many non-zeros, so that the threads of a round finish together.

The bytes depend on the processor (the width of its vector unit), since float32 sums depend on their order.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tokalign.common.errors import ConfigurationError, InputError
from tokalign.common.progress import Progress
from tokalign.config.vectors import GloveSettings
from tokalign.vectors.cooccurrence import Cooccurrences

log = logging.getLogger(__name__)

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
"""Freedoms for the compiler; NaN and infinity keep their meaning, so that divergence is noticed."""
LANES = 16
"""Vectors are padded with zeros to a multiple of this many float32, the widest vector unit."""
CLIP = np.float32(100)
HALF = np.float32(0.5)
MAGIC, FACTOR, SUMMAND = np.int32(0x5F1FFFF9), np.float32(0.703952253), np.float32(2.38924456)


@intrinsic
def _float_bits(context, value):
    """Read the bits of a float32 as an int32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def _float_of_bits(context, value):
    """Read an int32 as the bits of a float32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@njit(nogil=True, cache=True, fastmath=FASTMATH, error_model="numpy")
def inverse_root(value):
    """Return 1 / sqrt(value) to 7e-4 by one Newton step (Moroz et al. 2018).

    The first guess comes from the bits of the value. The size of an AdaGrad step need not be exact; a square root and a
    division would take ten times as long.
    """
    guess = _float_of_bits(np.int32(MAGIC - np.int32(_float_bits(value) >> np.int32(1))))
    return FACTOR * guess * (SUMMAND - value * guess * guess)


@njit(nogil=True, cache=True, fastmath=FASTMATH, error_model="numpy")
def _train(blocks, starts, bounds, rows, columns, logs, weights, words, word_bias, contexts, context_bias, rate, cost):
    """Train on the non-zeros of blocks (block row, block column); record each block's cost."""
    width = words.shape[2]
    limit = CLIP * rate
    for number in range(blocks.shape[0]):
        above, left = blocks[number, 0], blocks[number, 1]
        first_row, first_column = bounds[above], bounds[left]
        block_cost = 0.0
        for entry in range(starts[above, left], starts[above, left + 1]):
            row = first_row + np.int64(rows[entry])
            column = first_column + np.int64(columns[entry])
            word, word_squares = words[row, 0], words[row, 1]
            context, context_squares = contexts[column, 0], contexts[column, 1]
            difference = word_bias[row, 0] + context_bias[column, 0] - logs[entry]
            for k in range(width):
                difference += word[k] * context[k]
            weighted = weights[entry] * difference
            scaled = weighted * rate
            block_cost += 0.5 * np.float64(weighted) * np.float64(difference)
            for k in range(width):
                word_step = min(max(scaled * context[k], -limit), limit)
                context_step = min(max(scaled * word[k], -limit), limit)
                word[k] -= word_step * inverse_root(word_squares[k])
                context[k] -= context_step * inverse_root(context_squares[k])
                word_squares[k] += word_step * word_step
                context_squares[k] += context_step * context_step
            word_bias[row, 0] -= weighted * inverse_root(word_bias[row, 1])
            context_bias[column, 0] -= weighted * inverse_root(context_bias[column, 1])
            word_bias[row, 1] += weighted * weighted
            context_bias[column, 1] += weighted * weighted
        cost[above, left] = block_cost


@njit(nogil=True, cache=True)
def _arrange(above, bounds, block_of, indptr, indices, values, x_max, alpha, starts, rows, columns, logs, weights):
    """Sort a block row's non-zeros by block, row and column; compute logarithms and weights."""
    count = bounds.size - 1
    first, last = bounds[above], bounds[above + 1]
    starts[above, :] = 0
    for entry in range(indptr[first], indptr[last]):
        starts[above, block_of[indices[entry]] + 1] += 1
    starts[above, 0] = indptr[first]
    for left in range(count):
        starts[above, left + 1] += starts[above, left]
    cursor = starts[above, :-1].copy()
    for row in range(first, last):
        for entry in range(indptr[row], indptr[row + 1]):
            left = block_of[indices[entry]]
            place = cursor[left]
            cursor[left] += 1
            rows[place] = row - first
            columns[place] = indices[entry] - bounds[left]
            value = np.float64(values[entry])
            logs[place] = np.log(value)
            weights[place] = 1.0 if value > x_max else (value / x_max) ** alpha


def block_bounds(indptr: NDArray[np.int64], block: int) -> NDArray[np.int64]:
    """Split tokens into ranges of about equally many non-zeros and at most ``block`` tokens.

    Returns:
        Bounds of the ranges, int64, from 0 to the number of tokens.
    """
    size = len(indptr) - 1
    share = indptr[-1] / -(-size // block)
    bounds = [0]
    while bounds[-1] < size:
        first = bounds[-1]
        end = int(np.searchsorted(indptr, indptr[first] + share, side="right")) - 1
        bounds.append(min(max(end, first + 1), first + block, size))
    return np.array(bounds, dtype=np.int64)


def start_values(size: int, settings: GloveSettings) -> tuple[NDArray[np.float32], ...]:
    """Draw start values, uniform in (-0.5, 0.5) / (dimensions + 1), with squared gradients of 1.

    Returns:
        Words, float32 (size, 2, dimensions padded with zeros): vectors and squared gradients; word biases, float32
        (size, 2), likewise; contexts; context biases.
    """
    generator = np.random.default_rng([settings.seed, 0])
    dimensions = settings.dimensions
    sides = []
    for _ in range(2):
        start = (generator.random((size, dimensions + 1), dtype=np.float32) - HALF) / np.float32(dimensions + 1)
        vectors = np.zeros((size, 2, -(-dimensions // LANES) * LANES), np.float32)
        vectors[:, 0, :dimensions] = start[:, :dimensions]
        vectors[:, 1, :] = 1
        sides += [vectors, np.stack([start[:, dimensions], np.ones(size, np.float32)], axis=1)]
    return tuple(sides)


def stalled(objective: list[float], share: float) -> bool:
    """Return whether the last iteration lowered the objective by less than a share of it."""
    return len(objective) > 1 and objective[-2] - objective[-1] < share * objective[-2]


def train_glove(
    cooccurrences: Cooccurrences, settings: GloveSettings, threads: int, progress: Progress | None = None
) -> tuple[NDArray[np.float32], list[float]]:
    """Train GloVe vectors.

    Needs 12 bytes per non-zero and 16 * dimensions bytes per token besides its input.

    Args:
        cooccurrences: counts of n tokens.
        settings: training settings.
        threads: number of threads; the result does not depend on it.
        progress: gets the number of non-zeros trained on.

    Returns:
        Sums of word and context vectors, float32 (n, dimensions), and the objective: for each iteration the mean cost of a
        non-zero, taken before its step.

    Raises:
        InputError: there are no co-occurrences.
        ConfigurationError: the block is too large, or the training diverges.
    """
    if not 1 <= settings.block <= 1 << 16:
        raise ConfigurationError("block: out of range", found=settings.block, expected=f"1 to {1 << 16}")
    entries = len(cooccurrences.indices)
    if entries == 0:
        raise InputError("no two tokens occur together in the corpus", mend="give more text or lower min_count")
    size = len(cooccurrences.token_ids)
    bounds = block_bounds(cooccurrences.indptr, settings.block)
    count = len(bounds) - 1
    block_of = np.repeat(np.arange(count, dtype=np.int32), np.diff(bounds))
    starts = np.empty((count, count + 1), np.int64)
    rows, columns = np.empty(entries, np.uint16), np.empty(entries, np.uint16)
    logs, weights = np.empty(entries, np.float32), np.empty(entries, np.float32)
    state = start_values(size, settings)
    cost = np.zeros((count, count))
    rate = np.float32(settings.learning_rate)
    objective: list[float] = []

    with ThreadPoolExecutor(threads) as pool:
        matrix = (cooccurrences.indptr, cooccurrences.indices, cooccurrences.values)
        weighting = (float(settings.x_max), float(settings.alpha))
        entry_arrays = (rows, columns, logs, weights)
        list(pool.map(lambda above: _arrange(above, bounds, block_of, *matrix, *weighting, starts, *entry_arrays), range(count)))
        sizes = np.diff(starts, axis=1)
        above = np.arange(count)
        for iteration in range(settings.iterations):
            for shift in np.random.default_rng([settings.seed, 2, iteration]).permutation(count):
                left = (above + shift) % count
                size_of = sizes[above, left]
                order = np.argsort(-size_of, kind="stable")[: np.count_nonzero(size_of)]
                blocks = np.stack([above, left], axis=1)[order]
                shares = [np.ascontiguousarray(blocks[thread::threads]) for thread in range(threads)]
                futures = [
                    pool.submit(_train, share, starts, bounds, *entry_arrays, *state, rate, cost)
                    for share in shares
                    if len(share)
                ]
                for future in futures:
                    future.result()
                if progress:
                    progress.advance(int(size_of.sum()), f"objective {objective[-1]:.5f}" if objective else "")
            objective.append(float(cost.sum()) / entries)
            if not np.isfinite(objective[-1]):
                raise ConfigurationError(
                    f"the vectors diverge in iteration {iteration + 1}",
                    found=f"objective {objective[-1]}",
                    mend="lower learning_rate",
                )
            log.info("iteration %d of %d: objective %.6f", iteration + 1, settings.iterations, objective[-1])
            if settings.early_stop is not None and stalled(objective, settings.early_stop):
                log.info("ended early: the objective fell by less than %g of itself", settings.early_stop)
                break
    words, _, contexts, _ = state
    return words[:, 0, : settings.dimensions] + contexts[:, 0, : settings.dimensions], objective
