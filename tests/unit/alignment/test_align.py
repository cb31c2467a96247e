"""Methods put together into an alignment, and the file that it is written to."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors
import safetensors.numpy
from support.project import byte_level
from support.sides import (
    BYTES,
    SMALL,
    TEXTS,
    letters,
    side,
)
from tokalign.alignment.align import Rows, align, check_different
from tokalign.alignment.matrix import Alignment, read_matrix, write_alignment
from tokalign.alignment.table import read_tokens
from tokalign.common.errors import ArtifactError, ConfigurationError, InputError


def fixed(found: dict[int, dict[int, float]], category: str, score: float = math.nan):
    """Return a method that has these rows, as far as they are asked for."""

    def method(target, source, open_ids, settings):
        ids = [i for i in open_ids.tolist() if i in found]
        lengths = [len(found[i]) for i in ids]
        return Rows(
            ids=np.array(ids, np.int64),
            indptr=np.cumsum([0, *lengths]),
            sources=np.array([j for i in ids for j in found[i]], np.int64),
            weights=np.array([w for i in ids for w in found[i].values()], np.float32),
            category=category,
            scores=np.full(len(ids), score, np.float32),
        )

    return method


FIVE, FOUR = letters("abcd"), letters("wxy")


def aligned() -> Alignment:
    methods = {
        "one": fixed({1: {3: 1.0}, 4: {0: 1.0}}, "exact"),
        "none": fixed({}, "special"),
        "two": fixed({1: {2: 1.0}, 0: {0: 0.25, 2: 0.75}}, "aligned", 0.5),
        "three": fixed({i: {1: 1.0} for i in range(5)}, "random"),
    }
    return align(FIVE, FOUR, methods, {"seed": 1})


def test_the_first_method_that_has_a_row_wins():
    result = aligned()
    assert result.matrix.toarray().tolist() == [
        [0.25, 0, 0.75, 0],
        [0, 0, 0, 1],
        [0, 1, 0, 0],
        [0, 1, 0, 0],
        [1, 0, 0, 0],
    ]
    assert result.matrix.dtype == np.float32
    assert result.categories.tolist() == ["aligned", "exact", "random", "random", "exact"]
    assert np.nan_to_num(result.scores, nan=-9).tolist() == [0.5, -9, -9, -9, -9]


def test_a_later_method_is_asked_for_open_tokens_only():
    asked = []

    def watch(target, source, open_ids, settings):
        asked.append((open_ids.tolist(), settings))
        return fixed({i: {0: 1.0} for i in range(5)}, "random")(target, source, open_ids, settings)

    align(FIVE, FOUR, {"one": fixed({1: {3: 1.0}, 4: {0: 1.0}}, "exact"), "two": watch}, {"seed": 5})
    assert asked == [([0, 2, 3], {"seed": 5})]


def test_a_piece_that_comes_twice_counts_twice():
    twice = Rows(np.arange(5), np.arange(0, 11, 2), np.tile([2, 2], 5), np.full(10, 0.5, np.float32), "decomposed",
                 np.full(5, np.nan, np.float32))  # fmt: skip
    result = align(FIVE, FOUR, {"decomposed": lambda *_: twice}, {"seed": 1})
    assert result.matrix.toarray().tolist() == [[0, 0, 1, 0]] * 5
    assert result.matrix.nnz == 5


def test_tokens_that_no_method_found():
    with pytest.raises(ConfigurationError) as caught:
        align(FIVE, FOUR, {"one": fixed({0: {1: 1.0}, 1: {1: 1.0}, 3: {1: 1.0}}, "exact")}, {})
    text = str(caught.value)
    assert text.startswith("alignments: 2 target tokens were found by none of the methods one")
    assert "for instance id 2, 'b'" in text
    assert "append 'decomposed' or 'random'" in text


def test_round_trip(tmp_path):
    result = aligned()
    for name in ("1", "2"):
        write_alignment(result, tmp_path / f"{name}.safetensors", tmp_path / f"{name}.parquet", {"b": 1, "a": "é"})
    assert (read_matrix(tmp_path / "1.safetensors") != result.matrix).nnz == 0
    assert read_matrix(tmp_path / "1.safetensors").shape == (5, 4)
    table = pq.read_table(tmp_path / "1.parquet").to_pylist()
    assert table[0] == {"id": 0, "category": "aligned", "score": 0.5, "sources": [0, 2], "weights": [0.25, 0.75]}
    assert table[1] == {"id": 1, "category": "exact", "score": None, "sources": [3], "weights": [1.0]}
    assert read_tokens(tmp_path / "1.parquet").category.tolist() == result.categories.tolist()
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_same_bytes_each_time(tmp_path):
    """The entries of a safetensors header come in any order, so there must be one only."""
    paths = [tmp_path / f"{i}.safetensors" for i in range(20)]
    for path in paths:
        write_alignment(aligned(), path, tmp_path / "x.parquet", {"a": 1})
    assert len({path.read_bytes() for path in paths}) == 1


def damaged(path: Path, **changes: np.ndarray) -> Path:
    """Write an alignment, and then other data, indices or indptr in its place."""
    write_alignment(aligned(), path, path.with_suffix(".parquet"), {})
    with safetensors.safe_open(path, framework="np") as file:
        header, parts = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    safetensors.numpy.save_file(parts | changes, path, header)
    return path


def test_matrix_that_is_not_finite(tmp_path):
    for value in (np.nan, np.inf):
        data = aligned().matrix.data.copy()
        data[3] = value  # rows have 2, 1, 1, ... entries
        with pytest.raises(ArtifactError, match=r"a\.safetensors: the row of target token 2 is not finite"):
            read_matrix(damaged(tmp_path / "a.safetensors", data=data))


def test_matrix_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ArtifactError, match=r"a\.safetensors: no such file"):
        read_matrix(path)
    write_alignment(aligned(), path, tmp_path / "a.parquet", {})
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=r"a\.safetensors: not a readable safetensors file"):
            read_matrix(path)
    for changes in ({"indices": np.full(6, 4, np.int32)}, {"indptr": np.array([0, 2, 1, 4, 5, 6])}):
        with pytest.raises(ArtifactError, match="not a readable alignment matrix"):
            read_matrix(damaged(path, **changes))


def test_the_same_vocabulary_under_two_names():
    with pytest.raises(InputError, match=rf"(?s)here: .*the same {BYTES.vocabulary.size} tokens with the same ids"):
        check_different(BYTES.vocabulary, side(byte_level(330, TEXTS)).vocabulary, "here")
    check_different(BYTES.vocabulary, SMALL.vocabulary, "here")
