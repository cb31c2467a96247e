"""GloVe's text format: round trips, what other tools add to it, and errors that name file and line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands.vectors import convert_vectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.shards import write_shard
from tokalign.common.errors import InputError
from tokalign.common.files import sha256_file
from tokalign.vectors.glove_text import read_glove_text, write_glove_text
from tokalign.vectors.vectors import Vectors, read_vectors, write_vectors


def vectors_of(values: np.ndarray, seed: int = 0) -> Vectors:
    """Give rows to tokens 0, 2, 4, ... in a drawn order, with falling counts."""
    rows = len(values)
    ids = np.random.default_rng(seed).permutation(rows).astype(np.int32) * 2
    return Vectors(values, ids, np.arange(rows, 0, -1, dtype=np.int64), {"vocabulary_size": 2 * rows})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(2, 6)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    unknown=st.booleans(),
)
def test_round_trip(folder, values, unknown):
    """Every float32 comes back with all its bits (a zero's sign too), and the row <unk> is no token."""
    vectors = vectors_of(values)
    write_glove_text(folder / "v.txt", vectors, unknown=unknown)
    again, token_ids = read_glove_text(folder / "v.txt", 2 * len(values))
    assert again.tobytes() == vectors.vectors.tobytes()
    assert (again.dtype, token_ids.dtype) == (np.float32, np.int32)
    assert token_ids.tolist() == vectors.token_ids.tolist()


def test_by_hand(tmp_path):
    vectors = Vectors(
        np.array([[0.5, -2], [0.1, 3]], np.float32), np.array([7, 0], np.int32), np.array([3, 2]), {"vocabulary_size": 9}
    )
    write_glove_text(tmp_path / "v.txt", vectors, unknown=True)
    assert (tmp_path / "v.txt").read_text() == "7 0.5 -2\n0 0.100000001 3\n<unk> 0.300000001 0.5\n"


def test_unknown_is_the_mean_of_the_100_rarest(tmp_path):
    values = np.random.default_rng(1).normal(size=(130, 3)).astype(np.float32)
    write_glove_text(tmp_path / "v.txt", vectors_of(values), unknown=True)
    last = (tmp_path / "v.txt").read_text().splitlines()[-1].split()
    assert last[0] == "<unk>"
    np.testing.assert_allclose(list(map(float, last[1:])), values[30:].astype(float).mean(axis=0), rtol=1e-7)


@pytest.mark.parametrize("header", ["", "2 3\n"])
@pytest.mark.parametrize("extra", ["", "<unk> 9 9 9\n", "</s> 9 9 9\n"])
def test_what_other_tools_write(tmp_path, header, extra):
    """A header of fastText, spaces at line ends, and rows that are no tokens."""
    (tmp_path / "v.txt").write_text(f"{header}4 1.5 -2 3e-1 \n{extra}0 0 1 2\n")
    vectors, token_ids = read_glove_text(tmp_path / "v.txt", 5)
    assert token_ids.tolist() == [4, 0]
    np.testing.assert_array_equal(vectors, np.array([[1.5, -2, 0.3], [0, 1, 2]], np.float32))


WRONG = {
    "of another dimension": ("1 1 2 3\n2 1 2\n", ("line 2: a vector of another dimension", "2 numbers", "expected: 3, as")),
    "not a number": ("1 1 2\n2 1 2,5\n", ("line 2: not a number", "'2,5' as number 2")),
    "nan": ("1 1 2\n2 1 nan\n", ("line 2: not finite", "nan as number 2")),
    "too large for float32": ("1 1e39 2\n", ("line 1: not finite", "1e39 as number 1")),
    "infinite": ("1 1 -inf\n", ("line 1: not finite", "-inf as number 2")),
    "a word": ("1 1 2\nthe 1 2\n", ("line 2: not a token id", "'the'", "0 to 9", "token ids")),
    "negative": ("-1 1 2\n", ("line 1: not a token id", "'-1'", "0 to 9")),
    "a fraction": ("1.0 1 2\n", ("line 1: not a token id", "'1.0'")),
    "out of range": ("1 1 2\n10 1 2\n", ("line 2: token 10 is not in the vocabulary", "0 to 9")),
    "twice": ("1 1 2\n3 1 2\n1 3 4\n", ("line 3: a second vector of token 1", "in line 1")),
    "one number": ("1 1\n3 1\n", ("line 2: a vector of 1 numbers",)),  # the first line is read as a header
    "no number": ("5\n", ("line 1: a vector of 0 numbers", "at least 2")),
    "cut within a number": ("1 1.25 2.25\n3 1.25 2.2", ("line 2: the file ends within this line",)),
    "cut within an id": ("1 1.25 2.25\n3", ("line 2: the file ends within this line",)),
    "empty": ("", ("no vectors", "an empty file", "id v1 ... vn")),
    "only <unk>": ("<unk> 1 2\n", ("no vectors", "no line with a token id")),
    "only a header": ("3 300\n", ("no vectors", "no line with a token id")),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused(tmp_path, name):
    """The message names the file, the line and what is there."""
    text, parts = WRONG[name]
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(InputError) as error:
        read_glove_text(tmp_path / "v.txt", 10)
    message = str(error.value)
    assert message.startswith(str(tmp_path / "v.txt"))
    assert [part for part in parts if part not in message] == [], message


def test_no_file(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            read_glove_text(path, 10)


def test_not_utf_8(tmp_path):
    (tmp_path / "v.txt").write_bytes(b"\xff\xfe 1 2\n")
    with pytest.raises(InputError, match="line 1: not a token id"):
        read_glove_text(tmp_path / "v.txt", 10)


def convert(*words) -> None:
    convert_vectors.main(convert_vectors.arguments().parse_args(list(map(str, words))))


def test_script(tmp_path):
    """Export and import give the vectors back, with counts from the shards."""
    values = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    first = Vectors(values, np.array([4, 0, 3], np.int32), np.array([9, 8, 7]), {"vocabulary_size": 5})
    write_vectors(tmp_path / "first.safetensors", first)
    convert("export", "--vectors", tmp_path / "first.safetensors", "--text", tmp_path / "v.txt", "--unk")
    shards = [write_shard(tmp_path / "a.arrow", [[4, 4, 1]]), write_shard(tmp_path / "b.arrow", [[3, 4]])]
    (tmp_path / "info.json").write_text('{"size": 5}')
    convert(
        *("import", "--text", tmp_path / "v.txt", "--tokenizer-info", tmp_path / "info.json", "--shards", *shards),
        *("--threads", 2, "--vectors", tmp_path / "again.safetensors", "--objective", tmp_path / "objective.json"),
    )
    again = read_vectors(tmp_path / "again.safetensors")
    assert again.vectors.tobytes() == values.tobytes()
    assert again.token_ids.tolist() == [4, 0, 3]
    assert again.counts.tolist() == [3, 0, 1]
    digest = sha256_file(tmp_path / "v.txt")
    assert again.metadata == {"imported": {"sha256": digest}, "vocabulary_size": 5}
    record = json.loads((tmp_path / "objective.json").read_text())
    assert record == {"method": "imported", "objective": None, "settings": {"sha256": digest}}
