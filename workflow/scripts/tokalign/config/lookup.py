"""Look-up of names in a configuration: the nearest known word, the files that match patterns."""

from __future__ import annotations

import difflib
import glob
from pathlib import Path

from tokalign.common.errors import ConfigurationError


def nearest(name: str, known: list[str]) -> str:
    """Return advice with the known word nearest to ``name``, or with all known words."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"use one of: {', '.join(sorted(known))}" if known else "remove it"


def local_files(patterns: list[str], place: str) -> list[str]:
    """Return the sorted files that match a list of paths and glob patterns.

    Raises:
        ConfigurationError: a path does not exist or a pattern matches nothing.
    """
    found: list[str] = []
    for pattern in patterns:
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]
        files = [match for match in matches if Path(match).is_file()]
        if not files:
            parent = Path(pattern).parent
            names = [p.name for p in parent.iterdir() if p.is_file()] if parent.is_dir() else []
            close = difflib.get_close_matches(Path(pattern).name, names, n=1)
            raise ConfigurationError(
                f"{place}: no such file", found=pattern, expected=f"a file, seen from {Path.cwd()}",
                mend=f"did you mean {parent / close[0]}?" if close else "correct the path, or put the file there",
            )  # fmt: skip
        found += files
    return sorted(dict.fromkeys(found))
