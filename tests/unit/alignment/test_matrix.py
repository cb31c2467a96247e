"""The alignment's file: weights of the LM head, fills, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from scipy import sparse
from support.sides import rng_rows, spelled
from tokalign.alignment.align import Rows, align, assemble
from tokalign.alignment.fills import FILLS
from tokalign.alignment.matrix import Alignment, read_alignment, read_matrix, write_alignment
from tokalign.common.errors import ArtifactError

TARGET, SOURCE = spelled("abcdef", rng_rows(1, 6, 2)), spelled("ABC#", rng_rows(2, 4, 2), special="#")


def rows(entries: dict[int, list[tuple[int, float]]], output: dict[int, list[float]] | None = None) -> Rows:
    lengths = [len(row) for row in entries.values()]
    return Rows(
        ids=np.array(list(entries), np.int64),
        indptr=np.cumsum([0, *lengths]),
        sources=np.array([j for row in entries.values() for j, _ in row], np.int64),
        weights=np.array([w for row in entries.values() for _, w in row], np.float32),
        category="aligned",
        scores=np.full(len(entries), 0.5, np.float32),
        output_weights=None if output is None else np.array([w for i in entries for w in output[i]], np.float32),
    )


FIRST = rows({4: [(2, 1.0)], 1: [(2, 0.25), (0, 0.75)]})
SECOND = rows({0: [(1, 0.5), (0, 0.0), (1, 0.5)], 5: [(0, -1.0), (3, 2.0)]}, {0: [0.0, 2.0, 0.25], 5: [1.0, 0.0]})


def given(found: Rows):
    return lambda target, source, open_ids, settings: found


def mixed() -> Alignment:
    methods = {"one": given(FIRST), "two": given(SECOND), "mean": lambda *a: Rows.filled(a[2], "mean")}
    return align(TARGET, SOURCE, methods, {"seed": 11})


INPUT = [[0, 1, 0, 0], [0.75, 0, 0.25, 0], [0] * 4, [0] * 4, [0, 0, 1, 0], [-1, 0, 0, 2]]
LM_HEAD = [[2, 0.25, 0, 0], [0.75, 0, 0.25, 0], [0] * 4, [0] * 4, [0, 0, 1, 0], [1, 0, 0, 0]]


def test_weights_of_the_lm_head_have_the_same_pattern():
    """Weights of the input where a method gave no others; zeros on either side are entries."""
    result = mixed()
    assert result.matrix.toarray().tolist() == INPUT
    assert result.output.toarray().tolist() == LM_HEAD
    for matrix in (result.matrix, result.output):
        assert matrix.indptr.tolist() == [0, 2, 4, 4, 4, 5, 7]
        assert matrix.indices.tolist() == [0, 1, 0, 2, 2, 0, 3]
        assert matrix.dtype == np.float32
    assert align(TARGET, SOURCE, {"one": given(FIRST), "rest": lambda *a: Rows.filled(a[2], "zero")}, {"seed": 1}).output is None


def test_rows_put_together_equal_a_dense_sum():
    rng = np.random.default_rng(3)
    parts, dense = [], np.zeros((40, 9), np.float32)
    ids = rng.permutation(40)
    for chosen in (ids[:13], ids[13:30]):
        entries = {int(i): [(int(rng.integers(9)), float(rng.integers(1, 5))) for _ in range(rng.integers(1, 6))] for i in chosen}
        parts.append(rows(entries))
        for i, row in entries.items():
            for j, weight in row:
                dense[i, j] += weight
    matrix, output = assemble(parts, (40, 9))
    assert matrix.toarray().tolist() == dense.tolist()
    assert matrix.has_canonical_format
    assert output is None
    empty, _ = assemble([rows({})], (3, 2))
    assert empty.toarray().tolist() == [[0, 0]] * 3


def written(path: Path, alignment: Alignment) -> Path:
    write_alignment(alignment, path, path.with_suffix(".parquet"), {"settings": {}})
    return path


def test_what_an_initialization_reads(tmp_path):
    stored = read_alignment(written(tmp_path / "a.safetensors", mixed()))
    assert stored.matrix.toarray().tolist() == INPUT
    assert stored.output.toarray().tolist() == LM_HEAD
    assert stored.fill.tolist() == [0, 0, FILLS["mean"], FILLS["mean"], 0, 0]
    assert stored.ordinary.tolist() == [True, True, True, False]
    assert stored.seed == 11
    assert read_matrix(tmp_path / "a.safetensors").toarray().tolist() == INPUT
    alone = align(TARGET, SOURCE, {"one": given(FIRST), "rest": lambda *a: Rows.filled(a[2], "zero")}, {"seed": 1})
    stored = read_alignment(written(tmp_path / "b.safetensors", alone))
    assert stored.output is None
    assert stored.fill.tolist() == [2, 0, 2, 2, 0, 2]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fill", np.zeros(6, np.int8), r"row of target token 2 is not defined\n  found:    0 source tokens and the fill code 0"),
        ("fill", np.array([0, 1, 1, 1, 0, 0], np.int8), r"target token 1 is not defined\n  found:    2 source tokens and .* 1"),
        ("fill", np.array([0, 0, 9, 1, 0, 0], np.int8), r"target token 2 is not defined"),
        ("fill", np.zeros(5, np.int8), r"do not belong together\n  found:    5 fill codes, 4 source tokens"),
        ("ordinary", np.ones(3, bool), r"6 fill codes, 3 source tokens\n  expected: \(6, 4\)"),
        ("output_data", np.array([2, 0.25, 0.75, np.nan, 1, 1, 0], np.float32), r"row of target token 1 is not finite"),
        ("output_data", np.ones(6, np.float32), r"not a readable alignment matrix"),
        ("output_data", np.ones(7, np.float64), r"other arrays"),
        ("other", np.ones(7, np.float32), r"other arrays"),
    ],
)
def test_files_that_are_refused(tmp_path, name, value, message):
    path = written(tmp_path / "a.safetensors", mixed())
    with safetensors.safe_open(path, framework="np") as file:
        header, parts = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    safetensors.numpy.save_file(parts | {name: value}, path, header)
    with pytest.raises(ArtifactError, match=rf"(?s)a\.safetensors: .*{message}"):
        read_alignment(path)


def test_categories_of_single_rows():
    """A method can say for each row how it was found."""
    found = Rows.single(np.array([3, 0]), np.array([1, 2]), np.array(["exact", "random"], object))
    result = align(TARGET, SOURCE, {"some": given(found), "rest": lambda *a: Rows.filled(a[2], "mean")}, {"seed": 1})
    assert result.categories.tolist() == ["random", "mean", "mean", "exact", "mean", "mean"]
    assert sparse.issparse(result.matrix)
