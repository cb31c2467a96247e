"""Cached digests of the user's files: a touched file does not count as changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from tokalign.common.files import sha256_file, write_json


class DigestCache:
    """SHA-256 digests of files, cached in a JSON file with size and modification time.

    As with git's index, a file is read again only if its size, modification time or inode has changed. A missing or
    damaged cache costs time, never correctness.

    Args:
        path: the JSON file; the first digest creates it.
    """

    def __init__(self, path: str | Path):
        """Load the cache."""
        self.path = Path(path)
        try:
            self.known: dict[str, list] = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError):
            self.known = {}

    def digest(self, paths: Iterable[str | Path]) -> str:
        """Return one SHA-256 over the names and contents of files.

        Args:
            paths: files; their order does not matter.

        Raises:
            FileNotFoundError: a file does not exist.
        """
        total, changed = hashlib.sha256(), False
        for path in sorted(map(str, paths)):
            state = os.stat(path)
            key = [state.st_size, state.st_mtime_ns, state.st_ino]
            entry = self.known.get(path)
            if entry is None or entry[:3] != key:
                entry = self.known[path] = [*key, sha256_file(path)]
                changed = True
            total.update(f"{path}\0{entry[3]}\n".encode())
        if changed:
            write_json(self.path, self.known)
        return total.hexdigest()
