"""Rows that are made block by block, against the whole matrix at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from support.models import mixture
from tokalign.alignment.fills import FILLS, fill_block, moments
from tokalign.initialization import embedding_rows
from tokalign.initialization.embedding_rows import (
    SourceRows,
    block_rows,
    combined,
    drawn,
    filling,
    followed,
    kept_by_id,
    replacing,
    rescaling,
    row_bytes,
    shifting,
    source_lengths,
    wanted_lengths,
)

SOURCE = torch.from_numpy(np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32))


def whole(blocks, dtype: torch.dtype, columns: int) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(list(blocks))).view(dtype).reshape(-1, columns)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 29), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_combined_rows_are_bit_for_bit_those_of_the_whole_product(seed, ids):
    matrix = sparse.random_array((30, 37), density=0.1, rng=seed, dtype=np.float32, format="csr")
    rows = combined(matrix, SourceRows(SOURCE))(np.array(ids))
    assert np.array_equal(rows, (matrix @ SOURCE[:37].numpy())[ids])
    bias = combined(matrix, SourceRows(SOURCE[:, 0]))(np.array(ids))
    assert np.array_equal(bias, (matrix @ SOURCE[:37, 0].numpy())[ids])


@pytest.mark.parametrize("block_bytes", [1, 100, 24 * 7, 10**6])
def test_the_size_of_the_blocks_changes_nothing(monkeypatch, block_bytes):
    matrix, fill = sparse.csr_matrix(mixture(50).astype(np.float32)), np.zeros(50, np.int8)
    fill[[3, 4, 44]] = [FILLS["normal"], FILLS["mean"], FILLS["normal"]]
    source = SourceRows(SOURCE)

    def made() -> torch.Tensor:
        steps = [
            filling(fill, moments(source, np.ones(37, bool)), 5, 0),
            rescaling(np.arange(50) % 2 == 0, wanted_lengths("pieces", matrix, source, np.ones(37, bool)), 1.5),
        ]
        rows = followed(combined(matrix, source), steps)
        return whole(row_bytes(rows, (50, 6), 3, torch.bfloat16, "x"), torch.bfloat16, 6)

    expected = made()
    assert expected.shape == (53, 6)
    monkeypatch.setattr(embedding_rows, "BLOCK_BYTES", block_bytes)
    assert torch.equal(made(), expected)


def test_filled_rows_are_those_of_the_whole_matrix():
    fill = np.array([0, 1, 2, 3, 3, 0, 1], np.int8)
    rows = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    ordinary = np.arange(37) % 3 > 0
    expected = rows.copy()
    fill_block(expected, np.arange(7), fill, moments(SOURCE.numpy(), ordinary), 9, 1)
    step = filling(fill, moments(SourceRows(SOURCE), ordinary), 9, 1)
    for ids in ([0, 1, 2], [3], [6, 5, 4]):
        assert np.array_equal(step(np.array(ids), rows[ids].copy()), expected[ids])
    assert not np.array_equal(expected[3], expected[4])


def test_lengths_of_source_rows(monkeypatch):
    monkeypatch.setattr(embedding_rows, "BLOCK_BYTES", 100)
    assert block_rows((40, 6)) == 4
    np.testing.assert_allclose(source_lengths(SourceRows(SOURCE), 37), np.sqrt((SOURCE[:37].double() ** 2).sum(dim=1).numpy()))


def test_wanted_lengths_by_hand():
    source = SourceRows(torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0], [100.0, 0.0]]))  # lengths 5, 1, 10, 100
    matrix = sparse.csr_matrix(np.array([[1, 0, 0], [0.5, 0.5, 0], [3, 0, -1], [0, 0, 0]], np.float32))
    ordinary = np.array([True, True, False])
    assert wanted_lengths("none", matrix, source, ordinary) is None
    assert wanted_lengths("mean", matrix, source, ordinary).tolist() == [3, 3, 3, 3]
    assert wanted_lengths("median", matrix, source, np.ones(3, bool)).tolist() == [5, 5, 5, 5]
    np.testing.assert_allclose(wanted_lengths("pieces", matrix, source, ordinary), [5, 3, 6.25, np.nan])


def test_fresh_rows_have_the_distribution_of_first_weights_and_depend_on_id_seed_and_stream_alone():
    rows = drawn(64, 0.02, seed=4, stream=0)
    made = rows(np.arange(3000))
    assert made.dtype == np.float32
    assert abs(made.std() - 0.02) < 1e-4 and abs(made.mean()) < 2e-4
    some = np.array([2999, 5, 255, 256, 257])
    assert np.array_equal(rows(some), made[some])
    assert len(np.unique(made[:, 0])) == 3000
    for other in (drawn(64, 0.02, seed=5, stream=0), drawn(64, 0.02, seed=4, stream=1)):
        assert not np.array_equal(other(some), made[some])
    assert drawn(None, 0.02, seed=4, stream=2)(some).tolist() == [0] * 5


def test_rows_kept_by_id():
    fresh = drawn(6, 1.0, seed=1, stream=0)
    rows = kept_by_id(SourceRows(SOURCE), fresh)(np.array([0, 41, 39, 40]))
    assert np.array_equal(rows[[0, 2]], SOURCE[[0, 39]].numpy())
    assert np.array_equal(rows[[1, 3]], fresh(np.array([41, 40])))


@given(st.data(), st.lists(st.integers(0, 29), min_size=1, max_size=12))
@settings(max_examples=80, deadline=None)
def test_replaced_rows(data, wanted):
    """Whatever rows are asked for, in whatever order, and however many are replaced."""
    ids = np.array(sorted(data.draw(st.sets(st.integers(0, 29)))), np.int64)
    replacement = np.arange(6 * len(ids), dtype=np.float32).reshape(len(ids), 6) + 100
    expected = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
    before = expected.copy()
    for i, row in zip(ids, replacement, strict=True):
        expected[i] = row
    wanted = np.array(wanted)
    assert np.array_equal(replacing(ids, replacement)(wanted, before[wanted]), expected[wanted])


def test_shifted_rows():
    bias, direction = np.array([0, 2, -1, 0.5], np.float32), np.array([1, 0, -3], np.float32)
    step = shifting(bias, direction)
    rows = np.ones((2, 3), np.float32)
    assert step(np.array([1, 3]), rows.copy()).tolist() == [[3, 1, -5], [1.5, 1, -0.5]]
    assert step(np.array([2]), rows[:1].copy()).tolist() == [[0, 1, 4]]
    assert step(np.array([0]), rows[:1].copy()).tolist() == [[1, 1, 1]]
