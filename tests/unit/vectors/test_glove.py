"""GloVe against a float64 twin of the update rule in numpy, and by its properties.

The twin divides by exact roots, ours by roots good to 7e-4: tolerances allow for that.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from support.settings import altered, unchecked
from tokalign.common.errors import ConfigurationError, InputError
from tokalign.vectors.cooccurrence import Cooccurrences
from tokalign.vectors.glove import GloveSettings, _arrange, _train, block_bounds, inverse_root, stalled, start_values, train_glove

SETTINGS = unchecked(
    GloveSettings, dimensions=20, iterations=3, x_max=10.0, alpha=0.75, learning_rate=0.05, seed=1, block=8, early_stop=None
)


def symmetric(size: int, seed: int, density: float = 0.4) -> Cooccurrences:
    """Draw a symmetric matrix with large counts among the first tokens."""
    generator = np.random.default_rng(seed)
    dense = np.triu(generator.random((size, size)) * (generator.random((size, size)) < density))
    scale = 20 / np.arange(1, size + 1)
    dense = (dense + dense.T) * np.outer(scale, scale)
    matrix = sparse.csr_array(dense)
    ids = np.arange(size, dtype=np.int32)
    counts = np.arange(size, 0, -1, dtype=np.int64)
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    return Cooccurrences(indptr, indices, matrix.data.astype(np.float32), ids, counts, size)


def one_pair(i: int, j: int, value: float, size: int = 5) -> Cooccurrences:
    """Make a matrix of one entry."""
    indptr = np.zeros(size + 1, np.int64)
    indptr[i + 1 :] = 1
    ids = np.arange(size, dtype=np.int32)
    return Cooccurrences(indptr, np.array([j], np.int32), np.array([value], np.float32), ids, ids + 1, size)


def twin_step(word, context, bias, value, chosen):
    """Do one step of ``glove.c`` in float64: arguments are pairs (values, squared gradients); return new ones and cost."""
    (w, ws), (c, cs), ((a, sa), (b, sb)) = word, context, bias
    difference = w @ c + a + b - np.log(value)
    weighted = min(1.0, (value / chosen.x_max) ** chosen.alpha) * difference
    w_step = np.clip(weighted * c, -100, 100) * chosen.learning_rate
    c_step = np.clip(weighted * w, -100, 100) * chosen.learning_rate
    new_bias = ((a - weighted / sa**0.5, sa + weighted**2), (b - weighted / sb**0.5, sb + weighted**2))
    cost = 0.5 * weighted * difference
    return (w - w_step / ws**0.5, ws + w_step**2), (c - c_step / cs**0.5, cs + c_step**2), new_bias, cost


@pytest.mark.parametrize("value", [0.07, 3.0, 10.0, 5000.0])
def test_steps_equal_the_twin(value):
    """Six steps on one pair give the vectors of the twin, below and above x_max."""
    chosen = altered(SETTINGS, iterations=6)
    words, word_bias, contexts, context_bias = (array.astype(float) for array in start_values(5, chosen))
    vectors, objective = train_glove(one_pair(3, 1, value), chosen, 1)
    dimensions = chosen.dimensions
    word, context = tuple(words[3, :, :dimensions]), tuple(contexts[1, :, :dimensions])
    bias = (tuple(word_bias[3]), tuple(context_bias[1]))
    costs = []
    for _ in range(6):
        word, context, bias, cost = twin_step(word, context, bias, value, chosen)
        costs.append(cost)
    np.testing.assert_allclose(objective, costs, rtol=1e-2, atol=1e-6)
    expected = words[:, 0, :dimensions] + contexts[:, 0, :dimensions]
    expected[3] += word[0] - words[3, 0, :dimensions]
    expected[1] += context[0] - contexts[1, 0, :dimensions]
    np.testing.assert_allclose(vectors, expected, rtol=2e-3, atol=1e-5)


def test_clipping():
    """A component of the gradient of more than 100 counts as 100: 0.05 * 100 is the first step."""
    state = [array.copy() for array in start_values(1, SETTINGS)]
    words, _, contexts, _ = state
    words[0, 0, :20], contexts[0, 0, :20] = 30, 40
    starts, bounds = np.array([[0, 1]], np.int64), np.array([0, 1], np.int64)
    zero, cost = np.zeros(1, np.uint16), np.zeros((1, 1))
    one, logs = np.ones(1, np.float32), np.zeros(1, np.float32)
    _train(np.zeros((1, 2), np.int64), starts, bounds, zero, zero, logs, one, *state, np.float32(0.05), cost)
    np.testing.assert_allclose(words[0, 0, :20], 25, rtol=2e-4)
    np.testing.assert_allclose(contexts[0, 0, :20], 35, rtol=2e-4)
    np.testing.assert_allclose(words[0, 1, :20], 26, rtol=1e-5)


def test_step_follows_the_gradient_of_the_objective():
    """The first step, divided by the learning rate, is minus the gradient by finite differences of the objective."""
    value, chosen = 4.0, altered(SETTINGS, iterations=1)
    words, word_bias, contexts, context_bias = (array.astype(float) for array in start_values(5, chosen))
    c = contexts[1, 0, : chosen.dimensions]

    def cost(w):
        difference = w @ c + word_bias[3, 0] + context_bias[1, 0] - np.log(value)
        return 0.5 * (value / chosen.x_max) ** chosen.alpha * difference**2

    start = words[3, 0, : chosen.dimensions]
    unit = np.eye(chosen.dimensions) * 1e-5
    gradient = np.array([(cost(start + e) - cost(start - e)) / 2e-5 for e in unit])
    vectors, _ = train_glove(one_pair(3, 1, value), chosen, 1)
    step = vectors[3] - start - contexts[3, 0, : chosen.dimensions]
    np.testing.assert_allclose(step / chosen.learning_rate, -gradient, rtol=1e-3, atol=1e-5)


def test_inverse_root():
    """The approximation is good to 7e-4 over the range that squared gradients have."""
    values = np.geomspace(1, 1e12, 20_001, dtype=np.float32)
    found = np.array([inverse_root(value) for value in values])
    assert np.abs(found * np.sqrt(values.astype(float)) - 1).max() < 7e-4


def test_same_bytes_for_any_number_of_threads_and_again():
    """Threads and repetition change no byte; another seed does."""
    matrix = symmetric(60, 3)
    reference, objective = train_glove(matrix, SETTINGS, 1)
    for threads in (1, 2, 5):
        vectors, again = train_glove(matrix, SETTINGS, threads)
        assert vectors.tobytes() == reference.tobytes()
        assert again == objective
    assert train_glove(matrix, altered(SETTINGS, seed=2), 1)[0].tobytes() != reference.tobytes()
    assert reference.shape == (60, 20)
    assert reference.dtype == np.float32


def test_learns_a_low_rank_matrix_as_the_twin_in_random_order_does():
    """ln X of rank 2 is learned; blocks cost no quality: the objective falls as that of steps in one random order."""
    generator = np.random.default_rng(5)
    w = generator.normal(size=(30, 2))
    values = np.exp(w @ w.T).astype(np.float32)
    ids = np.arange(30, dtype=np.int32)
    matrix = Cooccurrences(np.arange(0, 901, 30), np.tile(ids, 30), values.ravel(), ids, ids + 1, 30)
    chosen = altered(SETTINGS, iterations=25)
    _, objective = train_glove(matrix, chosen, 2)
    assert objective[0] > objective[1] > objective[10] > objective[15] > objective[20] > 1.2 * objective[24]

    words, word_bias, contexts, context_bias = (array.astype(float) for array in start_values(30, chosen))
    expected = []
    pairs = generator.permutation(900)
    for _ in range(25):
        costs = []
        for i, j in zip(pairs // 30, pairs % 30, strict=True):
            words[i], contexts[j], bias, cost = twin_step(
                words[i], contexts[j], (word_bias[i], context_bias[j]), values[i, j], chosen
            )
            word_bias[i], context_bias[j] = bias
            costs.append(cost)
        expected.append(np.mean(costs))
    np.testing.assert_allclose(objective[2:], expected[2:], rtol=0.1)


def test_all_blocks_equal_the_twin_in_the_same_order():
    """Two iterations over many blocks give the vectors and the objective of the twin's steps in the order of the blocks."""
    matrix, chosen = symmetric(40, 6), altered(SETTINGS, iterations=2)
    bounds = block_bounds(matrix.indptr, chosen.block)
    count, entries = len(bounds) - 1, len(matrix.indices)
    block_of = np.repeat(np.arange(count, dtype=np.int32), np.diff(bounds))
    starts = np.empty((count, count + 1), np.int64)
    rows, columns = np.empty(entries, np.uint16), np.empty(entries, np.uint16)
    logs, weights = np.empty(entries, np.float32), np.empty(entries, np.float32)
    for above in range(count):
        csr = (matrix.indptr, matrix.indices, matrix.values)
        _arrange(above, bounds, block_of, *csr, 10.0, 0.75, starts, rows, columns, logs, weights)
    dense = sparse.csr_array((matrix.values, matrix.indices, matrix.indptr)).toarray().astype(float)
    words, word_bias, contexts, context_bias = (array.astype(float) for array in start_values(40, chosen))
    dimensions, expected = chosen.dimensions, []
    for iteration in range(2):
        costs = []
        for shift in np.random.default_rng([chosen.seed, 2, iteration]).permutation(count):
            for above in range(count):
                left = (above + shift) % count
                for entry in range(starts[above, left], starts[above, left + 1]):
                    i, j = bounds[above] + rows[entry], bounds[left] + columns[entry]
                    word, context = tuple(words[i, :, :dimensions]), tuple(contexts[j, :, :dimensions])
                    bias = (word_bias[i].copy(), context_bias[j].copy())
                    word, context, bias, cost = twin_step(word, context, bias, dense[i, j], chosen)
                    words[i, :, :dimensions], contexts[j, :, :dimensions] = word, context
                    word_bias[i], context_bias[j] = bias
                    costs.append(cost)
        expected.append(sum(costs) / len(costs))
    vectors, objective = train_glove(matrix, chosen, 2)
    np.testing.assert_allclose(objective, expected, rtol=1e-3)
    np.testing.assert_allclose(vectors, (words + contexts)[:, 0, :dimensions], rtol=5e-3, atol=1e-4)


def test_early_stop_ends_where_the_objective_stalls(caplog):
    """The iterations up to the end are those of a run without; every objective is in the log."""
    matrix, chosen = symmetric(60, 3), altered(SETTINGS, iterations=12)
    _, whole = train_glove(matrix, chosen, 1)
    falls = [(before - after) / before for before, after in itertools.pairwise(whole)]
    share = sorted(falls)[len(falls) // 2]
    ended = 2 + next(place for place, fall in enumerate(falls) if fall < share)
    assert ended < 12
    with caplog.at_level("INFO", "tokalign.vectors.glove"):
        vectors, objective = train_glove(matrix, altered(chosen, early_stop=share), 2)
    assert objective == whole[:ended]
    assert vectors.tobytes() == train_glove(matrix, altered(chosen, iterations=ended), 1)[0].tobytes()
    lines = [f"iteration {number} of 12: objective {value:.6f}" for number, value in enumerate(objective, 1)]
    assert [line for line in caplog.messages if line.startswith("iteration")] == lines
    assert any(line.startswith("ended early") for line in caplog.messages)


def test_stalled():
    """A fall of 10 % is less than a share of 0.11 and not less than 0.09; a rise is less than any; one iteration tells nothing."""
    assert stalled([2.0, 1.0, 0.9], 0.11)
    assert not stalled([2.0, 1.0, 0.9], 0.09)
    assert stalled([1.0, 1.1], 1e-9)
    assert not stalled([1.0], 0.9)


def test_every_entry_is_arranged_once():
    """Blocks together hold the entries of the matrix, each with its logarithm and weight, in each block row by row."""
    matrix = symmetric(37, 4)
    bounds = block_bounds(matrix.indptr, 8)
    count, entries = len(bounds) - 1, len(matrix.indices)
    block_of = np.repeat(np.arange(count, dtype=np.int32), np.diff(bounds))
    starts = np.empty((count, count + 1), np.int64)
    rows, columns = np.empty(entries, np.uint16), np.empty(entries, np.uint16)
    logs, weights = np.empty(entries, np.float32), np.empty(entries, np.float32)
    csr = (matrix.indptr, matrix.indices, matrix.values)
    for above in range(count):
        _arrange(above, bounds, block_of, *csr, 10.0, 0.75, starts, rows, columns, logs, weights)
    found = {}
    for above in range(count):
        for left in range(count):
            places = []
            for entry in range(starts[above, left], starts[above, left + 1]):
                place = (bounds[above] + rows[entry], bounds[left] + columns[entry])
                found[place] = (logs[entry], weights[entry])
                places.append(place)
            assert places == sorted(places)
    assert len(found) == entries
    for row in range(37):
        for entry in range(matrix.indptr[row], matrix.indptr[row + 1]):
            value = float(matrix.values[entry])
            expected = (np.log(value), min(1, (value / 10) ** 0.75))
            np.testing.assert_allclose(found[row, matrix.indices[entry]], expected, rtol=1e-5, atol=1e-6)


def test_block_bounds():
    """Ranges cover the tokens, hold at most ``block``, and frequent tokens are in smaller ranges."""
    degrees = np.array([100, 100, 50, 50, 10, 10, 10, 10, 10, 10, 10, 10, 10, 5, 5])
    bounds = block_bounds(np.concatenate([[0], np.cumsum(degrees)]), 4)
    # 400 entries, 4 blocks of 4 tokens would do: 100 entries each.
    assert bounds.tolist() == [0, 1, 2, 4, 8, 12, 15]


def test_errors():
    """No data, a block that does not fit 16 bits, and divergence are named."""
    empty = one_pair(0, 0, 1.0)
    empty = replace(empty, indptr=np.zeros(6, np.int64), indices=empty.indices[:0], values=empty.values[:0])
    with pytest.raises(InputError, match="no two tokens"):
        train_glove(empty, SETTINGS, 1)
    with pytest.raises(ConfigurationError, match="block"):
        train_glove(symmetric(9, 1), altered(SETTINGS, block=1 << 17), 1)
    with pytest.raises(ConfigurationError, match="diverge"):
        train_glove(symmetric(9, 1), altered(SETTINGS, learning_rate=1e30, iterations=9), 1)
