"""Edit distances against the textbook's recursion, and nearest tokens against all pairs."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokalign.alignment.align import Side
from tokalign.alignment.methods.mined import align_by_edit_distance
from tokalign.alignment.search import edit_distance
from tokalign.alignment.search.edit_distance import nearest_strings
from tokalign.tokenizers.vocabulary import Vocabulary
from tokalign.vectors.vectors import Vectors


def levenshtein(a: bytes, b: bytes) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return distance(len(a), len(b))


def test_distances_known_by_name():
    pairs = {(b"kitten", b"sitting"): 3, (b"flaw", b"lawn"): 2, (b"a", b"a"): 0, (b"intention", b"execution"): 5}
    for (a, b), expected in pairs.items():
        assert nearest_strings([a], [b], np.array([0]), 1)[1].tolist() == [expected]
        assert levenshtein(a, b) == expected


STRINGS = st.lists(st.text("ab\x80", min_size=1, max_size=7).map(lambda text: text.encode("latin-1")), min_size=1, max_size=12)
LONG = st.lists(st.text("abc", min_size=55, max_size=75).map(str.encode), min_size=1, max_size=4)


@settings(deadline=None, max_examples=150)
@given(STRINGS, STRINGS.flatmap(lambda found: st.tuples(st.just(found), st.permutations(range(len(found))))))
def test_nearest_of_all_pairs(queries, strings_and_ranks):
    strings, ranks = strings_and_ranks
    where, distances = nearest_strings(queries, strings, np.array(ranks), 2)
    for query, place, distance in zip(queries, where.tolist(), distances.tolist(), strict=True):
        ranked = min((levenshtein(query, string), rank, i) for i, (string, rank) in enumerate(zip(strings, ranks, strict=True)))
        assert (distance, place) == (ranked[0], ranked[2])


@settings(deadline=None, max_examples=25)
@given(LONG, LONG)
def test_around_the_length_of_a_machine_word(queries, strings):
    where, distances = nearest_strings(queries, strings, np.arange(len(strings)), 1)
    for query, place, distance in zip(queries, where.tolist(), distances.tolist(), strict=True):
        assert (distance, place) == min((levenshtein(query, string), i) for i, string in enumerate(strings))


def test_random_bytes_of_many_lengths(monkeypatch):
    """Over several blocks of queries and any number of threads."""
    monkeypatch.setattr(edit_distance, "BLOCK_BYTES", 7 * 4 * 50)  # of 50 distances each
    rng = np.random.default_rng(1)
    draw = [bytes(rng.integers(0, 256, rng.integers(1, 20), dtype=np.uint8)) for _ in range(90)]
    queries, strings = draw[:40], draw[40:]
    ranks = rng.permutation(len(strings))
    where, distances = nearest_strings(queries, strings, ranks, 1)
    assert distances.tolist() == [min(levenshtein(query, string) for string in strings) for query in queries]
    for threads in (2, 3):
        again = nearest_strings(queries, strings, ranks, threads)
        assert (again[0].tolist(), again[1].tolist()) == (where.tolist(), distances.tolist())


# --- the method ---


def side(*tokens: tuple[str, str], counts: list[int] | None = None) -> Side:
    vocabulary = Vocabulary([t for t, _ in tokens], [t.encode() for t, _ in tokens], [kind for _, kind in tokens], {})
    if counts is None:
        return Side(vocabulary, None)
    ids = np.arange(len(tokens), dtype=np.int32)
    metadata = {"vocabulary_size": len(tokens)}
    return Side(vocabulary, None, Vectors(np.ones((len(tokens), 2), np.float32), ids, np.array(counts), metadata))


TARGET = side(("house", "text"), ("<eos>", "special"), ("größe", "text"), ("", "unused"), ("x", "text"), ("qqqq", "text"))
TOKENS = [("mouse", "text"), ("houses", "text"), ("große", "text"), ("<eos>", "special"), ("x", "byte"), ("horse", "text"),
          ("", "unused")]  # fmt: skip
MINED = {"mined": {"min_similarity": 0.0}, "threads": 2}


def mapping(source: Side, **changes) -> dict[int, int]:
    rows = align_by_edit_distance(TARGET, source, np.arange(6), MINED | changes)
    assert rows.category == "mined"
    return dict(zip(rows.ids.tolist(), rows.sources.tolist(), strict=True))


def test_nearest_tokens_of_the_smallest_id():
    """House is as near to mouse, houses and horse; no special or unused token is asked about or answered with."""
    assert mapping(side(*TOKENS)) == {0: 0, 2: 2, 4: 4, 5: 4}  # qqqq: x needs 4 edits, any other token more


def test_nearest_tokens_of_the_greatest_count():
    assert mapping(side(*TOKENS, counts=[5, 9, 1, 99, 1, 7, 1]))[0] == 1
    assert mapping(side(*TOKENS, counts=[5, 7, 1, 99, 1, 9, 1]))[0] == 5
    assert mapping(side(*TOKENS, counts=[9, 9, 1, 99, 1, 9, 1]))[0] == 0


def test_scores_and_the_least_similarity():
    rows = align_by_edit_distance(TARGET, side(*TOKENS), np.array([0, 1, 2, 4, 5]), MINED)
    # house/mouse 1 of 5 bytes; größe/große: ö is c3 b6 and o one byte, so 2 of 7 bytes; x the same; qqqq/x 4 of 4.
    assert rows.ids.tolist() == [0, 2, 4, 5]
    assert rows.scores == pytest.approx([1 - 1 / 5, 1 - 2 / 7, 1, 0])
    assert mapping(side(*TOKENS), mined={"min_similarity": 0.75}) == {0: 0, 4: 4}


def test_nothing_to_look_for():
    assert align_by_edit_distance(TARGET, side(*TOKENS), np.array([1, 3]), MINED).ids.tolist() == []
