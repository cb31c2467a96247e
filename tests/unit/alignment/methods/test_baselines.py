"""Floors: random rows, permutations, frequencies, and rows that the initialization fills."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.sides import BYTES, PIECES, as_dict, every, rng_rows, spelled
from tokalign.alignment.align import Rows, Side, align
from tokalign.alignment.fills import FILLS, moments
from tokalign.alignment.methods.baselines import align_at_random, align_by_frequency, align_by_permutation
from tokalign.alignment.methods.registry import METHODS
from tokalign.common.errors import ConfigurationError
from tokalign.config.alignments import AlignmentSettings
from tokalign.vectors.vectors import Vectors

TARGET = spelled("abcdefghijklmnopqrstuvwxyz!", rng_rows(1, 27, 3), special="!")
SOURCE = spelled("ABCDEFGHIJ#", rng_rows(2, 11, 3), special="#")


def mapping(rows: Rows) -> dict[int, int]:
    assert rows.weights.tolist() == [1] * len(rows.ids)
    assert rows.indptr.tolist() == list(range(len(rows.ids) + 1))
    return dict(zip(rows.ids.tolist(), rows.sources.tolist(), strict=True))


def permuted(open_ids, seed: int = 1) -> list[int]:
    rows = align_by_permutation(TARGET, SOURCE, np.asarray(open_ids), {"seed": seed})
    assert rows.category == "random"
    assert rows.ids.tolist() == list(open_ids)
    return list(mapping(rows).values())


def test_permutation_repeats_no_source_token_before_all_are_used():
    for ids in ([4], range(7), range(10)):
        assert len(set(permuted(ids))) == len(ids)
    whole = permuted(range(27))
    for start in (0, 10):
        assert sorted(whole[start : start + 10]) == list(range(10))  # never the special token
    assert len(set(whole[20:])) == 7
    assert permuted(range(27)) == whole
    assert permuted(range(27), seed=2) != whole
    assert whole[:10] != whole[10:20]
    assert permuted([]) == []


def counted(side: Side, counts: list[int]) -> Side:
    old = side.vectors
    return Side(side.vocabulary, None, Vectors(old.vectors, old.token_ids, np.array(counts), old.metadata))


def test_frequency_draws_among_the_nearest_in_frequency():
    """Shares of the source: 1, 2, 4, ..., 512 of 1023 + 1; a target token of share 16/1024 stands next to those of 8, 16, 32."""
    source = counted(SOURCE, [2**i for i in (3, 0, 9, 4, 1, 8, 5, 2, 7, 6)] + [1])
    target = counted(TARGET, [16] + [1008] + [0] * 25)
    order = [1, 4, 7, 0, 3, 6, 9, 8, 5, 2]  # the source ids by their counts

    def drawn(ids: list[int], width: int, seed: int) -> dict[int, int]:
        settings = {"frequency": {"neighbors": width}, "seed": seed}
        return mapping(align_by_frequency(target, source, np.array(ids), settings))

    assert drawn([0], 1, 1) == {0: 3}
    assert {drawn([0], 3, seed)[0] for seed in range(60)} == set(order[3:6])
    assert {drawn([1], 4, seed)[1] for seed in range(80)} == set(order[6:])  # at the end the four most frequent
    assert {drawn([2], 2, seed)[2] for seed in range(40)} == set(order[:2])
    assert {drawn([2], 99, seed)[2] for seed in range(200)} == set(range(10))
    assert drawn([0, 1, 2], 5, 3) == {i: drawn([i], 5, 3)[i] for i in (0, 1, 2)}


def test_frequency_leaves_tokens_without_counts():
    vectors = Vectors(np.ones((1, 2), np.float32), np.array([5], np.int32), np.array([3]), {"vocabulary_size": 27})
    target = Side(TARGET.vocabulary, None, vectors)
    rows = align_by_frequency(target, SOURCE, np.arange(27), {"frequency": {"neighbors": 4}, "seed": 1})
    assert rows.ids.tolist() == [5]


@pytest.mark.parametrize("name", ["mean", "zero", "normal"])
def test_rows_that_are_filled_later(name):
    result = align(TARGET, SOURCE, {"random": only(3), name: METHODS[name]}, {"seed": 7})
    assert result.categories.tolist() == [name] * 3 + ["random"] + [name] * 23
    assert result.fill.tolist() == [FILLS[name]] * 3 + [0] + [FILLS[name]] * 23
    assert result.fill.dtype == np.int8
    assert np.diff(result.matrix.indptr).tolist() == [0] * 3 + [1] + [0] * 23
    assert result.ordinary.tolist() == [True] * 10 + [False]
    assert result.seed == 7
    assert np.isnan(result.scores).all()


def only(wanted: int):
    def method(target, source, open_ids, settings):
        return Rows.single(np.array([wanted]), np.array([2]), "random")

    return method


def test_a_row_without_source_tokens_and_without_a_fill_is_refused():
    def empty(target, source, open_ids, settings):
        return Rows(open_ids, np.zeros(len(open_ids) + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), "exact",
                    np.full(len(open_ids), math.nan, np.float32))  # fmt: skip

    with pytest.raises(ValueError, match="the method wrong gave rows without source tokens"):
        align(TARGET, SOURCE, {"wrong": empty}, {"seed": 1})


def test_moments_over_ordinary_rows_and_blocks(monkeypatch):
    monkeypatch.setattr("tokalign.alignment.fills.BLOCK_ROWS", 4)
    rows = rng_rows(8, 20, 5) + 3
    ordinary = np.random.default_rng(1).random(17) < 0.7  # rows 17 to 19 are padding
    mean, std = moments(rows, ordinary)
    chosen = rows[:17][ordinary].astype(np.float64)
    assert mean == pytest.approx(chosen.mean(axis=0), rel=1e-6)
    assert std == pytest.approx(chosen.std(axis=0), rel=1e-6)


def test_all_methods_answer_on_one_case():
    """Each method of the registry runs from settings such as the configuration fills in, and its rows can be put together."""
    same = spelled("abcdefgh" + "ABC!", rng_rows(3, 12, 3), special="!")
    few = {"relative": {"pivots": 4}, "vanilla": {}, "sparse_codes": {"pivots": 4, "nonzeros": 2, "tolerance": 0}}
    few |= {"tokalign_paper": {"pivots": 4}, "frequency": {"neighbors": 3}}
    settings = AlignmentSettings.of({"methods": ["exact"], **few}).plain() | {"threads": 1}
    for name in sorted(set(METHODS) - {"imported", "decomposed"}):  # which need a file and a tokenizer
        result = align(TARGET, same, {name: METHODS[name], "rest": METHODS["random"]}, settings)
        sums = np.asarray(result.matrix.sum(axis=1)).ravel()
        assert sums == pytest.approx(np.where(result.fill > 0, 0, 1), abs=1e-5), name


def test_message_where_no_method_has_an_answer():
    with pytest.raises(ConfigurationError, match="append 'decomposed' or 'random'"):
        align(TARGET, SOURCE, {"only": only(3)}, {"seed": 1})


def test_random_rows_depend_on_seed_and_id_alone():
    rows = as_dict(align_at_random(BYTES, PIECES, every(BYTES), {"seed": 3}))
    part = as_dict(align_at_random(BYTES, PIECES, np.array([5, 77, 200]), {"seed": 3}))
    assert part == {i: rows[i] for i in (5, 77, 200)}
    assert as_dict(align_at_random(BYTES, PIECES, every(BYTES), {"seed": 4})) != rows
    drawn = [next(iter(row)) for row in rows.values()]
    assert {PIECES.vocabulary.kinds[j] for j in drawn} == {"text", "byte"}  # never a special token
    assert len(set(drawn)) > 0.6 * 266  # 306 draws out of 266: 1 - exp(-306 / 266) = 68 % are expected
