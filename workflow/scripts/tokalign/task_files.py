"""YAML files of tasks of lm-evaluation-harness, read without the harness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tokalign.errors import InputError


class _Loader(yaml.SafeLoader):
    """Reads the harness' own tags (``!function``) as nothing: names do not depend on them."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def task_names(path: str | Path) -> list[str]:
    """Return the names of the tasks and groups that a YAML file defines, none for one that is only included by others.

    Raises:
        InputError: it is not YAML.
    """
    try:
        content: Any = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file", found=error, mend="correct it, or move it out of the folder") from error
    if not isinstance(content, dict):
        return []
    return [content[key] for key in ("task", "group") if isinstance(content.get(key), str)]
