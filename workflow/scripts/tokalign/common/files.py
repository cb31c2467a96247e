"""Atomic writing: files appear complete or not at all (write a neighbor, fsync, rename)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokalign.common.errors import ArtifactError


def _partial(path: Path) -> Path:
    """Return the temporary path beside ``path`` for incomplete content."""
    return path.with_name(f".{path.name}.partial-{os.getpid()}")


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Raise any error of a full disk as an OSError that names the file.

    pyarrow names no file; safetensors and torch raise other types of errors.
    """
    try:
        yield
    except Exception as error:
        number = next((n for n in (errno.ENOSPC, errno.EDQUOT) if os.strerror(n) in str(error)), None)
        if number is None and "PytorchStreamWriter failed" in str(error):  # torch.save, which does not say why
            number = errno.ENOSPC
        if number is None or getattr(error, "filename", None):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def link(source: str | Path, target: str | Path) -> None:
    """Create the symbolic link ``target`` to the resolved ``source``, and its folder if needed."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).symlink_to(Path(source).resolve())


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; success renames it to ``path``, an error removes it.

    Args:
        path: the file to create; its folder is created if needed.

    Yields:
        A path in the same folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        with full_disk_named(partial):
            yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield a folder to fill; success renames it to ``path``, an error removes it.

    Args:
        path: the folder to create; an existing one is replaced as a whole.

    Yields:
        An empty folder beside ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    try:
        with full_disk_named(partial):
            yield partial
        for root, _, names in os.walk(partial):
            for name in names:
                file = Path(root, name)
                if not file.is_symlink():
                    _sync(file)
            _sync(Path(root))
        publish_directory(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial_directories(path: Path) -> None:
    """Remove partial folders that killed processes left; no process may be writing ``path``."""
    for folder in path.parent.glob(f".{path.name}.partial-*"):
        shutil.rmtree(folder)


def publish_directory(finished: Path, path: Path) -> None:
    """Replace ``path`` with a finished folder on the same file system."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    os.replace(finished, path)
    _sync(path.parent)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON with sorted keys (equal values, equal bytes); refuse NaN and infinity."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file that an earlier step wrote.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file", mend="run the step that makes it") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path}: not valid JSON", found=error, mend="delete it and run again") from error


def sha256_file(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the hexadecimal SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
