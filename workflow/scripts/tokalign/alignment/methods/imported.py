"""Imported alignments: JSON files of the original TokAlign, ``{"target id": source id}``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from tokalign.alignment.align import Rows, Side
from tokalign.common.errors import InputError

log = logging.getLogger(__name__)


def read_mapping(path: Path) -> dict[str, int]:
    """Read a JSON object of whole numbers.

    Raises:
        InputError: the file is missing or other JSON, a key is repeated, or a value is not a whole number.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        known: dict[str, Any] = {}
        for key, value in pairs:
            if key in known:
                raise InputError(f"{path}: target id {key!r} comes twice", found=[known[key], value], mend="remove one of them")
            known[key] = value
        return known

    form = 'a JSON object {"target id": source id}, -1 for none'
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", expected=form, mend="correct `imported.file`") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not valid JSON", found=error, expected=form) from error
    if not isinstance(mapping, dict):
        raise InputError(f"{path}: no mapping", found=type(mapping).__name__, expected=form)
    for key, value in mapping.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{path}: key {key!r}: no source id", found=repr(value), expected="a whole number, or -1 for none")
    return mapping


def align_by_import(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Take rows from a file; tokens without an entry, or with -1, stay open.

    Args:
        target: side that gets rows.
        source: side whose rows are used.
        open_ids: target ids without a row.
        settings: ``imported`` {``file``, ``padding``}: with ``padding`` ``skip``, entries with ids beyond the tokenizers are
            ignored (files of the original have them for models with padding rows).

    Returns:
        Rows of category ``imported``, one source token of weight 1 each.

    Raises:
        InputError: the file cannot be read, or an entry is outside the vocabularies; names the key.
    """
    path = Path(settings["imported"]["file"])
    skip = settings["imported"]["padding"] == "skip"
    sizes = {"target": target.vocabulary.size, "source": source.vocabulary.size}
    sources = np.full(sizes["target"], -1, np.int64)
    skipped = 0
    for key, value in read_mapping(path).items():
        if not (key.isascii() and key.isdigit()):
            raise InputError(f"{path}: key {key!r}: no target id", expected="a whole number in decimal digits")
        for name, number, least in (("target", int(key), 0), ("source", value, -1)):
            if number < least or (number >= sizes[name] and not skip):
                raise InputError(
                    f"{path}: key {key!r}: the {name} id {number} is not in the {name} tokenizer",
                    found=number,
                    expected=f"{least} to {sizes[name] - 1}",
                    mend="use the file of these tokenizers; if the file names padding rows of the models, set `padding: skip`",
                )
        if int(key) < sizes["target"] and value < sizes["source"]:
            sources[int(key)] = value
        else:
            skipped += 1
    if skipped:
        log.warning("%s: %d entries name padding rows and are left out", path, skipped)
    ids = open_ids[sources[open_ids] >= 0]
    return Rows.single(ids, sources[ids], "imported")
