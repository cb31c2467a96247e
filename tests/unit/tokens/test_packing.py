"""Packing against a concatenation by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.shards import write_shard
from tokalign.common.errors import ArtifactError, InputError
from tokalign.tokens import packing
from tokalign.tokens.packing import PackedBlocks, pack_shards
from tokalign.training.order import data_order

EOS = 2**32 - 1  # an id that needs all bits of uint32

documents = st.lists(st.integers(0, 2**32 - 1), max_size=12)
corpora = st.lists(st.lists(documents, max_size=6), min_size=1, max_size=3)


def blocks_of(path: Path) -> list[list[int]]:
    packed = PackedBlocks.open(path)
    return [packed[i].tolist() for i in range(len(packed))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(corpora, st.integers(1, 7), st.integers(1, 4), st.integers(1, 3))
@example([[[1, 2], [3]], [[4]]], 7, 1, 1)  # exactly one block, across shards
@example([[[]], [[], []]], 1, 1, 1)  # nothing but EOS
def test_equals_brute_force(tmp_path, monkeypatch, corpus, block, rows_per_batch, rows):
    """The stream of all documents, each followed by EOS, cut into blocks; only the last partial block is lost."""
    monkeypatch.setattr(packing, "ROWS_PER_BATCH", rows_per_batch)
    shards = [write_shard(tmp_path / f"{i}.arrow", part, rows) for i, part in enumerate(corpus)]
    stream = [token for part in corpus for document in part for token in (*document, EOS)]
    whole = len(stream) // block
    if not whole:
        with pytest.raises(InputError, match="too little text for one training block"):
            pack_shards(shards, block, EOS, tmp_path / "blocks")
        return
    figures = pack_shards(shards, block, EOS, tmp_path / "blocks")
    assert blocks_of(tmp_path / "blocks") == [stream[i * block : (i + 1) * block] for i in range(whole)]
    assert figures == {
        "block": block, "blocks": whole, "documents": sum(map(len, corpus)), "bytes": sum(map(len, corpus)),
        "tokens": whole * block, "dropped_tokens": len(stream) - whole * block,
    }  # fmt: skip
    assert PackedBlocks.open(tmp_path / "blocks")[0].dtype == np.int64


def test_batches_of_the_file(tmp_path, monkeypatch):
    """All record batches but the last have ROWS_PER_BATCH rows: a block is found by division."""
    monkeypatch.setattr(packing, "ROWS_PER_BATCH", 4)
    pack_shards([write_shard(tmp_path / "a.arrow", [list(range(50))] * 2, rows=1)], 5, EOS, tmp_path / "blocks")
    with pa.ipc.open_file(tmp_path / "blocks") as file:
        assert [file.get_batch(i).num_rows for i in range(file.num_record_batches)] == [4, 4, 4, 4, 4]
        assert file.schema.field("ids").type == pa.list_(pa.uint32(), 5)
    assert len(PackedBlocks.open(tmp_path / "blocks")) == 20  # 102 tokens


def test_error_of_too_little_text_leaves_nothing(tmp_path):
    shard = write_shard(tmp_path / "a.arrow", [[1, 2], [3]])
    with pytest.raises(InputError, match=r"(?s)found:    5 tokens with EOS.*expected: at least 6.*lower `block`"):
        pack_shards([shard], 6, EOS, tmp_path / "blocks")
    assert [path.name for path in tmp_path.iterdir()] == ["a.arrow"]


def test_files_that_are_no_blocks(tmp_path):
    shard = write_shard(tmp_path / "a.arrow", [[1, 2], [3]])
    pack_shards([shard], 2, EOS, tmp_path / "blocks")
    (tmp_path / "cut").write_bytes((tmp_path / "blocks").read_bytes()[:-20])
    for path in (shard, tmp_path / "cut", tmp_path / "missing"):
        with pytest.raises(ArtifactError, match=f"{path.name}: not a readable file of training blocks"):
            PackedBlocks.open(path)


sizes = st.integers(1, 12)


@given(blocks=sizes, start=st.integers(0, 40), count=st.integers(0, 40), seed=st.integers(0, 2**40))
def test_order_by_epoch(blocks, start, count, seed):
    """Each pass through the data has every block once, wherever stages begin and end."""
    order = data_order(blocks, start, count, seed)
    assert order.shape == (count,)
    assert order.dtype == np.int64
    whole = data_order(blocks, 0, start + count, seed)
    assert order.tolist() == whole[start:].tolist()
    for epoch in range(0, start + count, blocks):
        part = whole[epoch : epoch + blocks].tolist()
        assert max(Counter(part).values()) == 1
        if len(part) == blocks:
            assert sorted(part) == list(range(blocks))


@given(blocks=sizes, counts=st.lists(st.integers(0, 30), max_size=4), seed=st.integers(0, 9))
def test_stages_continue_where_the_one_before_ended(blocks, counts, seed):
    starts = np.cumsum([0, *counts])
    stages = [data_order(blocks, int(start), count, seed) for start, count in zip(starts, counts, strict=False)]
    assert [i for stage in stages for i in stage] == data_order(blocks, 0, sum(counts), seed).tolist()


def test_order_differs_by_seed_and_epoch():
    first, second = data_order(1000, 0, 1000, 1), data_order(1000, 1000, 1000, 1)
    other = data_order(1000, 0, 1000, 2)
    for order in (second, other):
        assert (first == order).sum() < 10  # one is expected
    assert data_order(1000, 0, 1000, 1).tolist() == first.tolist()


def test_order_is_the_same_in_every_version():
    """Numbers of this release: whoever changes them raises the version of `training`."""
    assert data_order(8, 0, 10, 1).tolist() == [5, 0, 1, 4, 2, 6, 3, 7, 6, 1]
