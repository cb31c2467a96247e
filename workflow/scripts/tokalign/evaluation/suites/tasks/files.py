"""YAML task files of lm-evaluation-harness, read without the harness."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import Any

import yaml

from tokalign.common.errors import InputError


class _Loader(yaml.SafeLoader):
    """Loader that reads the harness' own tags (``!function``) as ``None``: names do not depend on them."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def _content(path: str | Path) -> dict[str, Any]:
    """Read a YAML file; empty if it is not a mapping."""
    try:
        content: Any = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file", found=error, mend="correct it, or move it out of the folder") from error
    return content if isinstance(content, dict) else {}


def task_names(path: str | Path) -> list[str]:
    """Return the names of the tasks and groups that a YAML file defines; a file to be included may define none.

    Raises:
        InputError: it is not YAML.
    """
    content = _content(path)
    return [content[key] for key in ("task", "group") if isinstance(content.get(key), str)]


def data_files(path: str | Path) -> list[Path]:
    """Return the existing local files that ``data_files`` of a YAML file names.

    Relative names and patterns start at the YAML file's folder, or else at the working folder.

    Raises:
        InputError: it is not YAML.
    """
    arguments = _content(path).get("dataset_kwargs")
    left: list[Any] = [arguments.get("data_files")] if isinstance(arguments, dict) else []
    found: set[Path] = set()
    while left:
        value = left.pop()
        if isinstance(value, dict | list):
            left += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str):
            for pattern in (str(Path(path).parent / value), value):
                files = [file for file in map(Path, sorted(glob(pattern, recursive=True))) if file.is_file()]
                if files:
                    found.update(files)
                    break
    return sorted(found)
