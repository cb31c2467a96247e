"""Sparse codes against matching pursuit by dense least squares, and against codes that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls
from support.sides import rng_rows, spelled
from tokalign.alignment.methods.sparse_codes import align_by_sparse_codes
from tokalign.alignment.search import pursuit, similarity
from tokalign.alignment.search.pursuit import solve_nonnegative, sparse_codes
from tokalign.alignment.search.similarity import normalize


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for module in (similarity, pursuit):
        monkeypatch.setattr(module, "QUERY_ROWS", 8)
    monkeypatch.setattr(similarity, "KEY_ROWS", 5)


def by_definition(query: np.ndarray, keys: np.ndarray, nonzeros: int, tolerance: float, nonnegative: bool) -> np.ndarray:
    """Return the dense weights of matching pursuit, one dense least squares per round."""
    weights, chosen, left = np.zeros(len(keys)), [], query
    while len(chosen) < nonzeros and np.linalg.norm(left) > tolerance:
        gains = keys @ left if nonnegative else np.abs(keys @ left)
        if gains.max() <= 1e-12:
            break
        chosen.append(int(gains.argmax()))
        own = keys[chosen].T
        solved = nnls(own, query)[0] if nonnegative else np.linalg.lstsq(own, query, rcond=None)[0]
        weights[:] = 0
        weights[chosen] = solved
        left = query - own @ solved
    return weights


def dense(where: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    result = np.zeros((len(where), size))
    for row, (places, values) in enumerate(zip(where, weights, strict=True)):
        for place, value in zip(places, values, strict=True):
            if place >= 0:
                result[row, place] += value
    return result


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize(("nonzeros", "tolerance"), [(1, 0.0), (3, 0.0), (5, 0.0), (5, 0.4)])
def test_pursuit_equals_its_definition(nonzeros, tolerance, nonnegative):
    queries, keys = normalize(rng_rows(1, 21, 9)), normalize(rng_rows(2, 33, 9))
    where, weights, left = sparse_codes(queries, keys, nonzeros, tolerance, nonnegative, 2)
    found = dense(where, weights, len(keys))
    exact_queries, exact_keys = queries.astype(np.float64), keys.astype(np.float64)
    for i, query in enumerate(exact_queries):
        assert found[i] == pytest.approx(by_definition(query, exact_keys, nonzeros, tolerance, nonnegative), abs=2e-5)
    assert left == pytest.approx(np.linalg.norm(exact_queries - found @ exact_keys, axis=1), abs=1e-5)
    assert not nonnegative or (weights >= 0).all()
    if tolerance:
        counts = (where >= 0).sum(axis=1)
        assert len(set(counts.tolist())) > 1  # some are done early
        assert (left[counts < nonzeros] <= tolerance).all()


def test_a_combination_of_three_is_found_again():
    """Of few nearly orthogonal keys; the pursuit stops at the third."""
    keys = normalize(np.eye(12, 40, dtype=np.float32) + 0.05 * rng_rows(3, 12, 40))
    truth = np.zeros((10, 12))
    rng = np.random.default_rng(4)
    for row in truth:
        row[rng.permutation(12)[:3]] = rng.uniform(0.5, 1, 3) * rng.choice([-1, 1], 3)
    queries = (truth @ keys).astype(np.float32)
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    where, weights, left = sparse_codes(queries / lengths, keys, 8, 1e-4, False, 1)
    assert dense(where, weights * lengths, 12) == pytest.approx(truth, abs=1e-4)
    assert ((where >= 0).sum(axis=1) == 3).all()
    assert (left < 1e-4).all()


def test_keys_that_depend_on_each_other_or_are_zero():
    keys = np.array([[1, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 0]], np.float32)
    queries = normalize(np.array([[2, 1, 0], [0, 0, 0], [0, 1, 0]], np.float32))
    where, weights, left = sparse_codes(queries, keys, 4, 0.0, False, 1)
    assert where.tolist() == [[0, -1, -1, -1], [-1] * 4, [-1] * 4]
    assert weights[0, 0] == pytest.approx(2 / np.sqrt(5), abs=1e-6)
    assert left == pytest.approx([1 / np.sqrt(5), 0, 1], abs=1e-6)


def test_nonnegative_least_squares_equals_scipy():
    rng = np.random.default_rng(7)
    for size in (1, 2, 5, 9):
        for _ in range(30):
            matrix, right = rng.normal(size=(12, size)), rng.normal(size=12)
            weights = np.full(size, np.nan)
            assert solve_nonnegative(matrix.T @ matrix, matrix.T @ right, np.zeros((size, size)), weights)
            assert weights == pytest.approx(nnls(matrix, right)[0], abs=1e-8)


def test_same_bytes_for_any_number_of_threads():
    queries, keys = normalize(rng_rows(5, 60, 11)), normalize(rng_rows(6, 80, 11))
    results = [sparse_codes(queries, keys, 4, 0.0, False, threads) for threads in (1, 2, 3)]
    assert len({b"".join(part.tobytes() for part in result) for result in results}) == 1


# --- the method ---

SHARED = "abcdefgh"
TARGET = spelled(SHARED + "xyz!", rng_rows(41, 12, 6), special="!")
SOURCE = spelled(SHARED + "IJKLMN#", rng_rows(42, 15, 6), special="#")
BLOCK = {"pivots": 8, "pivot_choice": "random", "nonzeros": 3, "tolerance": 0.0, "nonnegative": False, "sum_to_one": False,
         "min_cosine": -1.0}  # fmt: skip
OPEN = np.array([8, 9, 10])


def codes(**changes):
    return align_by_sparse_codes(TARGET, SOURCE, OPEN, {"sparse_codes": BLOCK | changes, "seed": 1, "threads": 2})


def expected_codes(nonnegative: bool = False) -> np.ndarray:
    """Return the dense weights over the 14 ordinary source tokens, by definition."""
    ours, theirs = (one.vectors.vectors.astype(np.float64) for one in (TARGET, SOURCE))

    def cosines(rows, pivots):
        unit, pivots = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (rows, pivots))
        return (unit @ pivots.T) / np.linalg.norm(unit @ pivots.T, axis=1, keepdims=True)

    queries, keys = cosines(ours, ours[:8])[OPEN], cosines(theirs, theirs[:8])[:14]
    return np.array([by_definition(query, keys, 3, 0.0, nonnegative) for query in queries])


def as_dense(rows) -> np.ndarray:
    result = np.zeros((len(rows.ids), 15))
    for n in range(len(rows.ids)):
        part = slice(rows.indptr[n], rows.indptr[n + 1])
        np.add.at(result[n], rows.sources[part], rows.weights[part])
    return result[:, :14]


@pytest.mark.parametrize("nonnegative", [False, True])
def test_codes_of_tokens(nonnegative):
    rows = codes(nonnegative=nonnegative)
    assert rows.ids.tolist() == OPEN.tolist()
    expected = expected_codes(nonnegative)
    assert as_dense(rows) == pytest.approx(expected, abs=1e-4)
    assert rows.category == "aligned"
    assert nonnegative or (rows.weights < 0).any()
    assert (np.abs(rows.scores) <= 1).all()


def test_codes_that_sum_to_one_or_are_left():
    expected = expected_codes()
    sums = expected.sum(axis=1)
    rows = codes(sum_to_one=True)
    good = sums >= 0.1
    assert rows.ids.tolist() == OPEN[good].tolist()
    assert as_dense(rows) == pytest.approx(expected[good] / sums[good, None], abs=1e-3)


def test_score_is_the_cosine_to_the_combination():
    plain = codes()
    least = float(np.median(plain.scores))
    assert codes(min_cosine=least).ids.tolist() == OPEN[plain.scores >= least].tolist()
    assert (codes(nonzeros=1).scores <= plain.scores + 1e-6).all()
    one = codes(nonzeros=1)
    assert one.scores == pytest.approx(np.abs(one.weights), abs=1e-5)  # of a single unit vector the weight is the cosine
