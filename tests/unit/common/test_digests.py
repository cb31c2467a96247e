"""Digests of the user's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tokalign.common import digests
from tokalign.common.digests import DigestCache


@pytest.fixture
def files(tmp_path) -> list[Path]:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"content of {name}")
    return [tmp_path / "a", tmp_path / "b"]


def reads(monkeypatch) -> list[str]:
    """Return a list that every file is appended to when its content is read."""
    seen: list[str] = []
    sha256_file = digests.sha256_file

    def watched(path):
        seen.append(Path(path).name)
        return sha256_file(path)

    monkeypatch.setattr(digests, "sha256_file", watched)
    return seen


def test_touched_files_are_read_again_and_not_changed(files, tmp_path, monkeypatch):
    cache = tmp_path / "cache.json"
    seen = reads(monkeypatch)
    first = DigestCache(cache).digest(files)
    assert DigestCache(cache).digest(files) == first
    assert seen == ["a", "b"]  # the second time, nothing was read
    os.utime(files[1], ns=(1, 1))
    assert DigestCache(cache).digest(files) == first
    assert seen == ["a", "b", "b"]
    assert DigestCache(cache).digest(files) == first
    assert seen == ["a", "b", "b"]


def test_changed_content_is_noticed(files, tmp_path):
    cache = DigestCache(tmp_path / "cache.json")
    first = cache.digest(files)
    state = files[0].stat()
    files[0].write_text("content of A")  # the same size
    os.utime(files[0], ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    changed = cache.digest(files)
    assert changed != first
    files[0].write_text("content of a")
    os.utime(files[0], ns=(state.st_atime_ns, state.st_mtime_ns + 2))
    assert cache.digest(files) == first


def test_replaced_file_of_the_same_size_and_time_is_noticed(files, tmp_path):
    """As `mv` and `rsync --times` do it: the inode tells."""
    cache = DigestCache(tmp_path / "cache.json")
    first = cache.digest(files)
    state = files[0].stat()
    (tmp_path / "new").write_text("content of A")
    os.utime(tmp_path / "new", ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace(tmp_path / "new", files[0])
    assert cache.digest(files) != first


def test_names_count_and_order_does_not(files, tmp_path):
    cache = DigestCache(tmp_path / "cache.json")
    both = cache.digest(files)
    assert cache.digest(files[::-1]) == both
    assert cache.digest(files[:1]) != both
    first, second = files[0].read_text(), files[1].read_text()
    files[0].write_text(second)
    files[1].write_text(first)
    assert DigestCache(tmp_path / "none.json").digest(files) != both


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"a": [1, 2'])
def test_missing_or_damaged_cache_costs_time_only(files, tmp_path, damage):
    cache = tmp_path / "deep/cache.json"
    first = DigestCache(cache).digest(files)
    cache.write_bytes(damage)
    assert DigestCache(cache).digest(files) == first
    cache.unlink()
    assert DigestCache(cache).digest(files) == first
    assert cache.is_file()


def test_missing_file(files, tmp_path):
    with pytest.raises(FileNotFoundError):
        DigestCache(tmp_path / "cache.json").digest([*files, tmp_path / "c"])
