"""The reader of token shards."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.shards import write_shard
from tokalign.common.errors import ArtifactError
from tokalign.tokens.packing import PackedBlocks, pack_shards
from tokalign.tokens.shards import SCHEMA, read_shard


def read(path: Path) -> list[list[int]]:
    """Return the ids of all documents, cut as the offsets say."""
    return [batch.ids[a:b].tolist() for batch in read_shard(path) for a, b in itertools.pairwise(batch.offsets)]


def write_batch(path: Path, batch: pa.RecordBatch) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def with_ids(ids: pa.Array) -> pa.RecordBatch:
    """Return a batch in which only the ids matter."""
    rest = [pa.array([None] * len(ids), field.type) for field in SCHEMA]
    return pa.record_batch([rest[0], ids, *rest[2:]], schema=SCHEMA)


def test_columns_are_those_of_the_architecture():
    assert [(field.name, str(field.type)) for field in SCHEMA] == [
        ("document", "string"), ("ids", "large_list<item: uint32>"), ("bytes", "int32"), ("characters", "int32"),
        ("words", "int32"), ("language", "string"), ("domain", "string"),
    ]  # fmt: skip


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=4), max_size=9), st.integers(1, 4))
def test_documents_come_back(tmp_path, documents, rows):
    path = write_shard(tmp_path / "a.arrow", documents, rows)
    assert read(path) == documents
    for batch in read_shard(path):
        assert (batch.ids.dtype, batch.offsets.dtype) == ("uint32", "int64")
        assert batch.offsets[0] == 0
        assert batch.offsets[-1] == len(batch.ids)
        assert len(batch.offsets) == batch.table.num_rows + 1


def test_batch_from_a_slice(tmp_path):
    """Only the documents of the slice are read: nothing before them, nothing behind them."""
    column = pa.array([[9, 9], [1, 2], [], [3], [7, 7, 7]], SCHEMA.field("ids").type)
    write_batch(tmp_path / "a.arrow", with_ids(column).slice(1, 3))
    assert read(tmp_path / "a.arrow") == [[1, 2], [], [3]]
    [batch] = read_shard(tmp_path / "a.arrow")
    assert batch.ids.tolist() == [1, 2, 3]
    assert batch.offsets.tolist() == [0, 2, 2, 3]


def test_values_before_and_behind_the_offsets(tmp_path):
    """The format allows values that no document has; pyarrow does not write them, so the offsets are changed in the file."""
    path = write_shard(tmp_path / "a.arrow", [[9, 1, 2], [], [3], [8]])
    before, after = (np.array(offsets, np.int64).tobytes() for offsets in ([0, 3, 3, 4, 5], [1, 3, 3, 4, 4]))
    data = path.read_bytes()
    assert data.count(before) == 1
    path.write_bytes(data.replace(before, after))
    [batch] = read_shard(path)
    assert batch.ids.tolist() == [1, 2, 3]
    assert batch.offsets.tolist() == [0, 2, 2, 3, 3]
    figures = pack_shards([path], 7, 0, tmp_path / "blocks")
    assert PackedBlocks.open(tmp_path / "blocks")[0].tolist() == [1, 2, 0, 0, 3, 0, 0]
    assert figures["dropped_tokens"] == 0


def test_empty_batches_are_left_out(tmp_path):
    assert list(read_shard(write_shard(tmp_path / "a.arrow", []))) == []


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"missing\.arrow: no such file"):
        next(read_shard(tmp_path / "missing.arrow"))
    (tmp_path / "text.arrow").write_text("no arrow, but some text that is long enough")
    (tmp_path / "empty.arrow").touch()
    whole = write_shard(tmp_path / "whole.arrow", [[1, 2]]).read_bytes()
    (tmp_path / "cut.arrow").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "empty", "cut"):
        with pytest.raises(ArtifactError, match=rf"{name}\.arrow: not a readable token shard"):
            next(read_shard(tmp_path / f"{name}.arrow"))
    write_batch(tmp_path / "columns.arrow", pa.record_batch({"ids": [[1]]}))
    wrong = with_ids(pa.array([[1]], SCHEMA.field("ids").type)).to_pydict()
    write_batch(tmp_path / "types.arrow", pa.record_batch(wrong | {"bytes": pa.array([1], pa.int32())}))
    for name in ("columns", "types"):
        with pytest.raises(ArtifactError, match=rf"(?s){name}\.arrow: not a token shard.*ids list<item: int64>.*uint32"):
            next(read_shard(tmp_path / f"{name}.arrow"))


def test_damage_within(tmp_path):
    """A batch whose header was overwritten is named, though the end of the file is whole."""
    path = write_shard(tmp_path / "a.arrow", [[1, 2], [3]], rows=1)
    data = bytearray(path.read_bytes())
    with pa.ipc.open_file(path) as file:
        schema_end = data.index(b"\xff\xff\xff\xff", 16)  # the continuation marker of the first batch
        assert file.num_record_batches == 2
    data[schema_end : schema_end + 64] = b"\x00" * 64
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"a\.arrow: batch 0 is damaged"):
        list(read_shard(path))
