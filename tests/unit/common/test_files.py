"""Files appear complete or not at all."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokalign.common.errors import ArtifactError
from tokalign.common.files import (
    atomic_directory,
    atomic_file,
    read_json,
    remove_partial_directories,
    sha256_file,
    sha256_json,
    write_json,
)


def everything(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_file_appears_at_the_end(tmp_path):
    path = tmp_path / "new/folder/a"
    with atomic_file(path) as partial:
        partial.write_text("x")
        assert not path.exists()
        assert partial.parent == path.parent  # the same file system
    assert everything(tmp_path) == {"new/folder/a": "x"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_a_file_after_an_error(tmp_path, error):
    (tmp_path / "a").write_text("old")
    with pytest.raises(error), atomic_file(tmp_path / "a") as partial:
        partial.write_text("half")
        raise error
    assert everything(tmp_path) == {"a": "old"}
    with pytest.raises(error), atomic_file(tmp_path / "b") as partial:
        raise error
    assert everything(tmp_path) == {"a": "old"}


def test_file_that_was_not_written(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_directory_is_replaced_as_a_whole(tmp_path):
    old = tmp_path / "out"
    (old / "deep").mkdir(parents=True)
    (old / "deep/stale").write_text("old")
    with atomic_directory(old) as partial:
        (partial / "sub").mkdir()
        (partial / "sub/new").write_text("new")
        assert everything(old) == {"deep/stale": "old"}
    assert everything(tmp_path) == {"out/sub/new": "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_a_directory_after_an_error(tmp_path, error):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_text("old")
    for name in ("out", "other"):
        with pytest.raises(error), atomic_directory(tmp_path / name) as partial:
            (partial / "a").write_text("half")
            raise error
    assert everything(tmp_path) == {"out/a": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_directory_may_hold_links(tmp_path):
    (tmp_path / "target").write_text("x")
    with atomic_directory(tmp_path / "out") as partial:
        (partial / "link").symlink_to(tmp_path / "target")
        (partial / "broken").symlink_to("nowhere")
    assert (tmp_path / "out/link").read_text() == "x"
    assert (tmp_path / "out/broken").is_symlink()


def test_left_over_partial_directory_is_not_mixed_in(tmp_path):
    """A process with the same id may have been killed while it wrote."""
    with atomic_directory(tmp_path / "out") as partial:
        name = partial.name
    (tmp_path / name).mkdir()
    (tmp_path / name / "stale").touch()
    with atomic_directory(tmp_path / "out") as partial:
        assert partial.name == name
        assert list(partial.iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [1, -math.inf]}])
def test_json_without_nan(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


def test_equal_values_are_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": {"d": "é", "c": None}})
    write_json(tmp_path / "b.json", {"a": {"c": None, "d": "é"}, "b": 1})
    data = (tmp_path / "a.json").read_bytes()
    assert data == (tmp_path / "b.json").read_bytes()
    assert data.decode() == '{\n  "a": {\n    "c": null,\n    "d": "é"\n  },\n  "b": 1\n}\n'
    assert read_json(tmp_path / "a.json") == {"a": {"c": None, "d": "é"}, "b": 1}


def test_json_that_cannot_be_read(tmp_path):
    with pytest.raises(ArtifactError, match=r"a\.json: no such file"):
        read_json(tmp_path / "a.json")
    for data in (b"", b'{"a": 1', b"\xff"):
        (tmp_path / "a.json").write_bytes(data)
        with pytest.raises(ArtifactError, match=r"a\.json: not valid JSON"):
            read_json(tmp_path / "a.json")


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=4))
def test_sha256_json_of_equal_values(value):
    assert sha256_json(value) == sha256_json(dict(reversed(value.items())))
    assert sha256_json(value) == sha256_json(json.loads(json.dumps(value)))
    assert sha256_json(value) != sha256_json([value])


def test_sha256_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, example B.1.
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "b").write_bytes(bytes(range(256)) * 9000)
    assert sha256_file(tmp_path / "b") == hashlib.sha256(bytes(range(256)) * 9000).hexdigest()


def test_what_a_killed_process_left(tmp_path):
    """A folder that was being written goes, finished ones and those of others stay."""
    with pytest.raises(KeyboardInterrupt), atomic_directory(tmp_path / "stage") as partial:
        left = partial.with_name(f"{partial.name}0")  # of another process
        (left / "deep").mkdir(parents=True)
        raise KeyboardInterrupt
    kept = [tmp_path / "stage", tmp_path / ".stage2.partial-7"]
    for folder in kept:
        folder.mkdir()
    remove_partial_directories(tmp_path / "stage")
    assert sorted(tmp_path.iterdir()) == sorted(kept)
