"""Greatest products, CSLS, mutual and one-to-one matches, against dense matrices and definitions followed step by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.sides import rng_rows, spelled
from tokalign.alignment.align import Rows
from tokalign.alignment.methods.relative import align_by_relative_representation, representations
from tokalign.alignment.methods.vanilla import align_by_vectors
from tokalign.alignment.search import similarity, stable_matching
from tokalign.alignment.search.similarity import best_matches, neighbor_means, normalize
from tokalign.alignment.search.stable_matching import match_one_to_one
from tokalign.common.errors import ConfigurationError, InputError

SMALL_INTEGERS = st.integers(-2, 2).map(float)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks, the last ones padded, also for the few rows of these tests."""
    monkeypatch.setattr(similarity, "QUERY_ROWS", 8)
    monkeypatch.setattr(similarity, "KEY_ROWS", 5)


# --- greatest products ---


def test_equal_products_in_the_order_of_the_keys():
    queries = np.array([[1, 0]], np.float32)
    keys = np.array([[0, 1], [1, 0], [1, 0], [0.5, 0]], np.float32)
    where, products = best_matches(queries, keys, 3, 1)
    assert where.tolist() == [[1, 2, 3]]
    assert products.tolist() == [[1, 1, 0.5]]
    assert best_matches(queries, keys, 1, 1)[0].tolist() == [[1]]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_best_matches_with_offsets_and_holders(data):
    """Whole numbers, so that there are many ties; by sorting all pairs."""
    n, m, k = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 13)), data.draw(st.integers(1, 6))
    queries = data.draw(arrays.arrays(np.float32, (n, 2), elements=SMALL_INTEGERS))
    keys = data.draw(arrays.arrays(np.float32, (m, 2), elements=SMALL_INTEGERS))
    of_query = data.draw(arrays.arrays(np.float32, n, elements=SMALL_INTEGERS))
    of_key = data.draw(arrays.arrays(np.float32, m, elements=SMALL_INTEGERS))
    held = data.draw(arrays.arrays(np.float32, m, elements=st.sampled_from([-np.inf, -1.0, 0.0, 2.0])))
    holders = data.draw(arrays.arrays(np.int64, m, elements=st.integers(0, n - 1)))
    holders[np.isneginf(held)] = -1
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))
    where, products = best_matches(
        queries, keys, k, 2, rows=rows, query_offsets=of_query, key_offsets=of_key, held=held, holders=holders
    )
    for place, i in enumerate(rows.tolist()):
        values = [float(queries[i] @ keys[j] - of_key[j] - of_query[i]) for j in range(m)]
        takes = [j for j in range(m) if values[j] > held[j] or (values[j] == held[j] and i < holders[j])]
        expected = sorted(takes, key=lambda j: (-values[j], j))[:k]
        rest = k - len(expected)
        assert where[place].tolist() == expected + [-1] * rest
        assert products[place].tolist() == [values[j] for j in expected] + [-np.inf] * rest


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_same_bytes_for_any_number_of_threads(monkeypatch, kind):
    monkeypatch.setattr(similarity, "QUERY_ROWS", 512)
    monkeypatch.setattr(similarity, "KEY_ROWS", 1024)
    queries, keys = rng_rows(1, 1100, 37).astype(kind), rng_rows(2, 1500, 37).astype(kind)
    where, products = best_matches(queries, keys, 3, 1)
    for threads in (2, 3):
        again = best_matches(queries, keys, 3, threads)
        assert [part.tobytes() for part in again] == [where.tobytes(), products.tobytes()]
    exact = queries.astype(np.float64) @ keys.astype(np.float64).T
    assert products == pytest.approx(-np.sort(-exact, axis=1)[:, :3], rel=1e-5, abs=1e-5)


def test_neighbor_means():
    queries, keys = normalize(rng_rows(3, 19, 4)), normalize(rng_rows(4, 23, 4))
    exact = -np.sort(-(queries.astype(np.float64) @ keys.T.astype(np.float64)), axis=1)
    assert neighbor_means(queries, keys, 3, 2) == pytest.approx(exact[:, :3].mean(axis=1), abs=1e-6)
    assert neighbor_means(queries, keys, 99, 2) == pytest.approx(exact.mean(axis=1), abs=1e-6)


def test_normalize_keeps_zero_rows_and_types():
    rows = np.array([[3, 4], [0, 0]], np.float32)
    assert normalize(rows).tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0]]
    assert normalize(rows.astype(np.float64)).dtype == np.float64


# --- one to one ---


def greedy(values: np.ndarray) -> list[int]:
    """Return each row's column: all pairs, best first, where both are still free."""
    partners, taken = [-1] * values.shape[0], set()
    for i, j in sorted(np.ndindex(values.shape), key=lambda pair: -values[pair]):
        if partners[i] < 0 and j not in taken:
            partners[i] = j
            taken.add(j)
    return partners


@pytest.mark.parametrize(("n", "m"), [(20, 20), (40, 11), (9, 33), (1, 1), (30, 1)])
@pytest.mark.parametrize("candidates", [1, 3, 16])
def test_one_to_one_is_all_pairs_best_first(monkeypatch, n, m, candidates):
    monkeypatch.setattr(stable_matching, "CANDIDATES", candidates)
    queries, keys = rng_rows(n, n + 5, 3), rng_rows(m + 100, m, 3)
    offsets = {"query_offsets": rng_rows(1, n + 5), "key_offsets": rng_rows(2, m)}
    rows = np.sort(np.random.default_rng(5).permutation(n + 5)[:n])
    partners, values = match_one_to_one(queries, keys, 2, rows=rows, **offsets)
    exact = queries[rows] @ keys.T - offsets["key_offsets"] - offsets["query_offsets"][rows, None]
    assert partners.tolist() == greedy(exact)
    assert (partners >= 0).sum() == min(n, m)
    found = partners >= 0
    assert values[found] == pytest.approx(exact[found, partners[found]], abs=1e-5)
    assert np.isneginf(values[~found]).all()


@settings(deadline=None, max_examples=40)
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(2)), elements=SMALL_INTEGERS),
    arrays.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(2)), elements=SMALL_INTEGERS),
)
def test_one_to_one_of_equal_products_is_stable(queries, keys):
    """No two tokens would both rather have each other; of equal products the query with the smaller number goes first."""
    zero = {"query_offsets": np.zeros(len(queries), np.float32), "key_offsets": np.zeros(len(keys), np.float32)}
    partners, _ = match_one_to_one(queries, keys, 1, rows=np.arange(len(queries)), **zero)
    taken = [j for j in partners.tolist() if j >= 0]
    assert len(taken) == len(set(taken)) == min(len(queries), len(keys))
    holder = {j: i for i, j in enumerate(partners.tolist()) if j >= 0}
    products = queries @ keys.T
    for i, j in np.ndindex(products.shape):
        own = partners[i]
        rather = own < 0 or (products[i, j], -j) > (products[i, own], -own)
        held = holder.get(j)
        takes = held is None or (products[i, j], -i) > (products[held, j], -held)
        assert not (rather and takes)


# --- the options of relative and vanilla ---


# Dense vectors around one direction, so that some source tokens are near to everything.
TARGET = spelled("abcdefghijklmnopqrs!", rng_rows(11, 20, 4) + 1, special="!")
SOURCE = spelled("ABCDEFGHIJKLMNOPQ#", rng_rows(12, 18, 4) + 1, special="#")
BLOCK = {"top_k": 1, "temperature": 0.1, "min_cosine": -1.0, "hubness": "none", "neighbors": 3, "mutual": False,
         "one_to_one": False}  # fmt: skip


def vanilla(open_ids: np.ndarray, **changes) -> Rows:
    return align_by_vectors(TARGET, SOURCE, open_ids, {"vanilla": BLOCK | changes, "threads": 2})


def cosines() -> np.ndarray:
    """Return the cosines of all 20 target tokens with the 17 ordinary source tokens."""
    ours, theirs = (one.vectors.vectors.astype(np.float64) for one in (TARGET, SOURCE))
    ours, theirs = (rows / np.sqrt((rows**2).sum(axis=1, keepdims=True)) for rows in (ours, theirs[:17]))
    return ours @ theirs.T


def csls() -> np.ndarray:
    """Return CSLS / 2 by its definition; the neighborhoods of source tokens are ordinary target tokens."""
    exact = cosines()
    of_target = [np.mean(sorted(row)[-3:]) for row in exact]
    of_source = [np.mean(sorted(column)[-3:]) for column in exact[:19].T]
    return exact - (np.array(of_target)[:, None] + np.array(of_source)) / 2


ORDINARY = np.arange(19)


def test_vanilla_is_the_greatest_cosine():
    rows = vanilla(np.arange(20))
    assert rows.ids.tolist() == list(range(20))
    assert rows.sources.tolist() == cosines().argmax(axis=1).tolist()
    assert rows.scores == pytest.approx(cosines().max(axis=1), abs=1e-6)
    assert rows.category == "aligned"


def test_vanilla_needs_equal_dimensions():
    other = spelled("ABC", rng_rows(1, 3, 5))
    with pytest.raises(InputError, match=r"(?s)by vanilla: .*4 dimensions in the target's, 5 in the source's"):
        align_by_vectors(TARGET, other, ORDINARY, {"vanilla": BLOCK, "threads": 1})


@pytest.mark.parametrize("open_ids", [ORDINARY, np.array([2, 5, 17])])
def test_csls_ranks_and_weights_but_the_score_is_the_cosine(open_ids):
    rows = vanilla(open_ids, hubness="csls", top_k=2)
    expected = csls()[open_ids]
    best = np.argsort(-expected, axis=1)[:, :2]
    assert rows.sources.reshape(-1, 2).tolist() == best.tolist()
    assert rows.scores == pytest.approx(cosines()[open_ids, best[:, 0]], abs=1e-6)
    first, second = np.take_along_axis(expected, best, axis=1).T
    assert rows.weights[::2] == pytest.approx(1 / (1 + np.exp((second - first) / 0.1)), abs=1e-5)
    plain = vanilla(ORDINARY).sources
    assert len(set(vanilla(ORDINARY, hubness="csls").sources.tolist())) > len(set(plain.tolist()))  # fewer hubs


@pytest.mark.parametrize(("hubness", "values"), [("none", cosines), ("csls", csls)])
def test_mutual_matches_only(hubness, values):
    exact = values()[ORDINARY]
    expected = {i: int(row.argmax()) for i, row in enumerate(exact) if exact[:, row.argmax()].argmax() == i}
    assert 0 < len(expected) < len(ORDINARY)
    rows = vanilla(ORDINARY, hubness=hubness, mutual=True)
    assert dict(zip(rows.ids.tolist(), rows.sources.tolist(), strict=True)) == expected
    wanted = np.array([4, 9, 12, 18])  # a token that is not open can be the better match, too
    part = vanilla(wanted, hubness=hubness, mutual=True)
    pairs = dict(zip(part.ids.tolist(), part.sources.tolist(), strict=True))
    assert pairs == {i: j for i, j in expected.items() if i in wanted}


@pytest.mark.parametrize(("hubness", "values"), [("none", cosines), ("csls", csls)])
def test_one_to_one_matches(hubness, values):
    expected = {i: j for i, j in enumerate(greedy(values()[ORDINARY])) if j >= 0}
    rows = vanilla(ORDINARY, hubness=hubness, one_to_one=True)
    assert dict(zip(rows.ids.tolist(), rows.sources.tolist(), strict=True)) == expected
    assert len(expected) == 17
    assert rows.scores == pytest.approx([cosines()[i, j] for i, j in expected.items()], abs=1e-6)
    least = sorted(rows.scores)[5]
    some = vanilla(ORDINARY, hubness=hubness, one_to_one=True, min_cosine=float(least))
    assert some.ids.tolist() == rows.ids[rows.scores >= least].tolist()


def test_one_to_one_with_several_sources_per_token():
    with pytest.raises(ConfigurationError, match=r"(?s)vanilla\.top_k: one source token.*found:    2"):
        vanilla(ORDINARY, one_to_one=True, top_k=2)


def test_representations_are_cosines_of_length_1():
    vectors = rng_rows(21, 30, 5)
    pivots, positions = np.array([3, 7, 20]), np.array([4, 3, 29, 0])
    cos = normalize(vectors[positions]) @ normalize(vectors[pivots]).T
    expected = cos / np.linalg.norm(cos, axis=1, keepdims=True)
    assert representations(vectors, positions, pivots) == pytest.approx(expected, abs=1e-6)


def test_relative_has_the_options_too():
    """With all tokens as pivots of the same space, a one-to-one match is each token itself."""
    tokens = "abcdefghij"
    one = spelled(tokens, rng_rows(31, 10, 4))
    settings = {"relative": BLOCK | {"pivots": 10, "pivot_choice": "random", "one_to_one": True}, "seed": 1, "threads": 1}
    rows = align_by_relative_representation(one, one, np.arange(10), settings)
    assert rows.sources.tolist() == list(range(10))
    settings["relative"] |= {"one_to_one": False, "mutual": True, "hubness": "csls"}
    assert align_by_relative_representation(one, one, np.arange(10), settings).sources.tolist() == list(range(10))
