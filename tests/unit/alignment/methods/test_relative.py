"""Relative representations and their pivots, against the definition followed step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.sides import (
    as_dict,
    every,
    letters,
    with_vectors,
)
from tokalign.alignment.align import Side
from tokalign.alignment.methods.relative import align_by_relative_representation, choose_pivots
from tokalign.alignment.search import similarity
from tokalign.common.errors import InputError
from tokalign.vectors.vectors import Vectors

TARGET = with_vectors(letters("abcdefghijklmno"), 1, leave_out=(3, 15))
SOURCE = with_vectors(letters("ABCDeghEFGHIJKLMNa"), 2, leave_out=(4,))
COMMON = ["a", "e", "g", "h"]
SETTINGS = {
    "relative": {
        "pivots": 4, "pivot_choice": "random", "top_k": 1, "temperature": 0.05, "min_cosine": -1.0, "hubness": "none",
        "neighbors": 10, "mutual": False, "one_to_one": False,
    },
    "seed": 1,
    "threads": 2,
}  # fmt: skip


def chosen(**changes) -> dict:
    return SETTINGS | {"relative": SETTINGS["relative"] | changes}


def cosine(x, y) -> float:
    lengths = math.sqrt(sum(a * a for a in x)) * math.sqrt(sum(b * b for b in y))
    return sum(a * b for a, b in zip(x, y, strict=True)) / lengths if lengths else 0.0


def brute_force(target: Side, source: Side, common: list[str], top_k: int, temperature: float) -> dict[int, list[tuple]]:
    """Return target id -> [(source id, weight, cosine), ...], best first, by the definition, in float64."""

    def space(one: Side) -> dict[int, list[float]]:
        rows = {int(i): [float(x) for x in row] for i, row in zip(one.vectors.token_ids, one.vectors.vectors, strict=True)}
        pivots = [rows[one.vocabulary.tokens.index(token)] for token in common]
        return {i: [cosine(row, pivot) for pivot in pivots] for i, row in rows.items()}

    ours, theirs = space(target), space(source)
    result = {}
    for i in sorted(ours):
        ranked = sorted((-cosine(ours[i], theirs[j]), j) for j in theirs if source.vocabulary.kinds[j] != "special")[:top_k]
        scale = [math.exp(-c / temperature) for c, _ in ranked]
        result[i] = [(j, weight / sum(scale), -c) for (c, j), weight in zip(ranked, scale, strict=True)]
    return result


@pytest.mark.parametrize(("query_rows", "key_rows"), [(1, 1), (3, 5), (512, 1024)])
@pytest.mark.parametrize(("top_k", "temperature"), [(1, 0.05), (3, 0.05), (5, 1.0), (1000, 0.3)])
def test_relative_equals_brute_force(monkeypatch, query_rows, key_rows, top_k, temperature):
    monkeypatch.setattr(similarity, "QUERY_ROWS", query_rows)
    monkeypatch.setattr(similarity, "KEY_ROWS", key_rows)
    settings = chosen(top_k=top_k, temperature=temperature)
    rows = align_by_relative_representation(TARGET, SOURCE, every(TARGET), settings)
    expected = brute_force(TARGET, SOURCE, COMMON, top_k, temperature)
    assert rows.category == "aligned"
    assert rows.ids.tolist() == sorted(expected)  # tokens without a vector are left out
    k = min(top_k, 17)  # 18 letters, less the one without a vector; the special token is no candidate
    as_dict(rows)
    for n, (i, matches) in enumerate(expected.items()):
        part = slice(n * k, (n + 1) * k)
        assert rows.sources[part].tolist() == [j for j, _, _ in matches], i
        assert rows.weights[part] == pytest.approx([w for _, w, _ in matches], abs=2e-5)
        assert rows.scores[n] == pytest.approx(matches[0][2], abs=1e-5)


def test_relative_for_open_tokens_above_the_least_cosine():
    expected = {i: matches[0] for i, matches in brute_force(TARGET, SOURCE, COMMON, 1, 1.0).items()}
    middle = sorted(score for _, _, score in expected.values())[len(expected) // 2] - 1e-4
    wanted = np.array([1, 2, 3, 7, 8, 9, 10])
    rows = align_by_relative_representation(TARGET, SOURCE, wanted, chosen(min_cosine=middle))
    good = {i: j for i, (j, _, score) in expected.items() if i in wanted and score >= middle}
    assert 0 < len(good) < 6
    assert {i: next(iter(row)) for i, row in as_dict(rows).items()} == good


def test_relative_finds_a_rotated_space_again():
    """Vectors of the target are those of the source, turned and stretched: every token finds itself, with cosine 1."""
    rng = np.random.default_rng(0)
    text = "abcdefghijklmnopqrst"
    source = with_vectors(letters(text), 3)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    scale = rng.uniform(0.5, 2, size=(len(source.vectors.vectors), 1))
    turned = (scale * (source.vectors.vectors @ rotation)).astype(np.float32)
    # The target spells the last ten letters otherwise, so they are no pivots.
    target = letters(text[:10] + text[10:].upper())
    target = Side(target.vocabulary, None, Vectors(turned, source.vectors.token_ids, source.vectors.counts, {}))
    rows = align_by_relative_representation(target, source, np.arange(11, 21), chosen(pivots=10))
    assert as_dict(rows) == {i: {i: 1.0} for i in range(11, 21)}
    assert rows.scores == pytest.approx(np.ones(10), abs=1e-5)


def test_relative_without_open_tokens():
    rows = align_by_relative_representation(TARGET, SOURCE, np.array([3, 15]), chosen(top_k=2))
    assert as_dict(rows) == {}


def test_too_few_pivots():
    with pytest.raises(InputError, match=r"(?s)too few pivots\n  found:    4 tokens have the same bytes.*at least the 5"):
        align_by_relative_representation(TARGET, SOURCE, every(TARGET), chosen(pivots=5))


def pivot_tokens(target: Side, source: Side, number: int, choice: str, seed: int) -> list[str]:
    """Return the tokens that were chosen, having checked that both positions are of the same token."""
    at_target, at_source = choose_pivots(target, source, number, choice, seed)
    tokens = [target.vocabulary.tokens[i] for i in target.vectors.token_ids[at_target]]
    assert tokens == [source.vocabulary.tokens[i] for i in source.vectors.token_ids[at_source]]
    assert len(set(tokens)) == number
    return sorted(tokens)


def test_pivots_at_random_are_seeded():
    assert pivot_tokens(TARGET, SOURCE, 4, "random", 1) == COMMON
    drawn = {tuple(pivot_tokens(TARGET, SOURCE, 2, "random", seed)) for seed in range(40)}
    assert len(drawn) == 6  # every pair of four
    assert len({tuple(pivot_tokens(TARGET, SOURCE, 2, "random", 7)) for _ in range(3)}) == 1


def test_pivots_by_frequency_on_the_rarer_side():
    def counted(counts: list[int]) -> Side:
        one = letters("abc")
        vectors = Vectors(np.ones((3, 2), np.float32), np.array([1, 2, 3], np.int32), np.array(counts), {"vocabulary_size": 4})
        return Side(one.vocabulary, None, vectors)

    # Shares: a 0.7 and 0.1, b 0.2 and 0.2, c 0.1 and 0.7; the rarer side says a 0.1, b 0.2, c 0.1 (ties: in order).
    target, source = counted([70, 20, 10]), counted([1, 2, 7])
    assert pivot_tokens(target, source, 1, "frequency", 1) == ["b"]
    assert pivot_tokens(target, source, 2, "frequency", 1) == ["a", "b"]
