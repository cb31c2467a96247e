"""BLEU over ids, against counting by hand and by loops over lists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bleu import by_loops
from tokalign.common.errors import ArtifactError
from tokalign.evaluation.statistics.token_bleu import ORDERS, bleu, corpus_bleu, corpus_intervals, count_matches


def counted(pairs):
    return count_matches(*([np.array(pair[side], dtype=np.int64) for pair in pairs] for side in (0, 1)))


ids = st.lists(st.integers(0, 3), max_size=9)


@given(st.lists(st.tuples(st.lists(st.integers(-1, 3), max_size=9), ids), min_size=1, max_size=5))
def test_as_by_loops(pairs):
    counts = counted(pairs)
    for order in range(1, ORDERS + 1):
        single, whole = by_loops(pairs, order)
        assert bleu(counts, order) == pytest.approx(single, abs=1e-12)
        assert corpus_bleu(counts, order) == pytest.approx(whole, abs=1e-12)


def test_by_hand():
    """Hypothesis 1 2 3 1, reference 1 2 4 1 5: of four tokens three match, of three pairs one; one token is lacking."""
    counts = counted([([1, 2, 3, 1], [1, 2, 4, 1, 5])])
    assert counts.tolist() == [[4, 5, 3, 1, 0, 0, 4, 3, 2, 1]]  # lengths, matches, n-grams
    assert bleu(counts, 1)[0] == pytest.approx(3 / 4 * math.exp(1 - 5 / 4))
    assert bleu(counts, 2)[0] == pytest.approx(math.sqrt(3 / 4 * 1 / 3) * math.exp(1 - 5 / 4))
    assert bleu(counts, 3)[0] == 0


def test_example_of_the_paper():
    """Papineni et al. (2002), example 2: `the` seven times against `the cat is on the mat` has a clipped precision of 2/7."""
    the, cat, is_, on, mat = range(5)
    assert bleu(counted([([the] * 7, [the, cat, is_, on, the, mat])]), 1)[0] == pytest.approx(2 / 7)


def test_equal_sequences_score_one_and_ids_without_a_source_nothing():
    counts = counted([([5, 6, 7, 8], [5, 6, 7, 8]), ([-1, -1, -1, -1], [5, 6, 7, 8])])
    for order in range(1, ORDERS + 1):
        assert bleu(counts, order).tolist() == [1, 0]


def test_ngrams_do_not_reach_into_the_next_document():
    counts = counted([([1], [1]), ([2], [2]), ([], [])])
    assert counts[:, 6:].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_large_ids_do_not_collide():
    far = 2**31 - 1
    pairs = [([far, 0, far - 1], [far - 1, 0, far]), ([far] * 5, [far] * 5)]
    assert bleu(counted(pairs), 2) == pytest.approx(by_loops(pairs, 2)[0])


def test_interval_belongs_to_the_corpus_level():
    """Documents are all alike, so the corpus-level BLEU is the same in every resample; else it has its own spread."""
    pair = ([1, 2, 3, 4, 9], [1, 2, 3, 4, 5, 6])
    alike = counted([pair] * 7)
    for order, interval in enumerate(corpus_intervals(alike), start=1):
        assert interval == pytest.approx([corpus_bleu(alike, order)] * 2)
    mixed = counted([pair] * 20 + [([7] * 5, [8] * 6)] * 20)
    low, high = corpus_intervals(mixed)[0]
    assert low < corpus_bleu(mixed, 1) < high
    assert corpus_intervals(counted([pair])) == [None] * 4


def test_what_is_refused():
    with pytest.raises(ArtifactError, match="do not fit"):
        count_matches([np.array([1])], [np.array([1]), np.array([], dtype=np.int64)])
    with pytest.raises(ArtifactError, match="lowest reference id -1"):
        count_matches([np.array([1])], [np.array([-1])])
