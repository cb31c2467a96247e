"""Preparation of test sets: segments, questions or prompts of one data set, checked, in one format per kind.

Nothing is dropped silently: an unusable item is an error that names file, line and field, and prompts excluded by length are
counted. An item's id does not depend on the measured system: it comes from the file, or is a hash of the item's content.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tokalign.common.errors import InputError
from tokalign.common.files import read_json, sha256_file, sha256_json, write_json
from tokalign.config.testsets import TestsetSettings
from tokalign.evaluation.data.testsets import Testset, write_testset
from tokalign.text.documents import COMPRESSIONS, file_format, read_lines, read_records, read_rows, shorten

log = logging.getLogger(__name__)

ID = "id"
PROVENANCE = "provenance.json"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
AT_LEAST_TWO = 2

Record = tuple[str, Mapping[str, Any]]
"""Position (file and line, for messages) and fields of a record."""


def columns(settings: TestsetSettings) -> pa.Schema:
    """Return the columns of the items of a test set."""
    if settings.kind == "parallel":
        found = [(language, pa.string()) for language in settings.fields]
    elif settings.kind == "choices":
        found = [("question", pa.string()), ("context", pa.string())]
        found += [("choices", pa.list_(pa.string())), ("answer", pa.int32())]
    else:
        found = [("text", pa.string())]
    return pa.schema([(ID, pa.string()), *found])


# ---- reading ----


def file_records(files: Sequence[str | Path]) -> Iterator[Record]:
    """Yield the records of JSONL files (possibly compressed) and Parquet files, in order.

    Raises:
        InputError: a file is missing, damaged or of another type, or a line is not a JSON object.
    """
    for path in map(Path, files):
        if not path.is_file():
            raise InputError(f"{path}: no such file", mend="correct the path in the configuration")
        form, compression = file_format(path)
        if form == ".parquet":
            for number, row in read_rows(path):
                yield f"{path} row {number}", row
        elif form == ".jsonl":
            for number, record in read_records(path, compression, "one JSON object a line"):
                yield f"{path} line {number}", record
        else:
            raise InputError(
                f"{path}: a test set is not plain text", found=path.name, expected=".jsonl, .jsonl.gz, .jsonl.zst or .parquet",
                mend="give line-aligned text of a parallel set by `text_files`, or convert it",
            )  # fmt: skip


def aligned_records(text_files: Mapping[str, str | Path]) -> Iterator[Record]:
    """Yield a record per line of line-aligned plain text files, with a field per language.

    Args:
        text_files: file of each language, plain or compressed (``.gz``, ``.zst``); any other suffix is plain text.

    Raises:
        InputError: a file is missing, damaged or not UTF-8, or the numbers of lines differ.
    """
    lines: dict[str, list[str]] = {}
    for language, name in text_files.items():
        path = Path(name)
        if not path.is_file():
            raise InputError(f"{path}: no such file", mend=f"correct the path of {language} in the configuration")
        lines[language] = [line.rstrip("\r\n") for _, line in read_lines(path, COMPRESSIONS.get(path.suffix))]
    if len({len(own) for own in lines.values()}) > 1:
        raise InputError(
            f"{', '.join(map(str, text_files.values()))}: unequal numbers of lines",
            found=", ".join(f"{len(own)} of {language}" for language, own in lines.items()),
            expected="line n of each file is the same segment",
            mend="align the files again",
        )
    names = " and ".join(map(str, text_files.values()))
    for number, segments in enumerate(zip(*lines.values(), strict=True), 1):
        yield f"{names} line {number}", dict(zip(lines, segments, strict=True))


def field_of(record: Mapping[str, Any], field: str, where: str) -> Any:
    """Return the value of a field; a dotted name is a path, unless a field has that very name.

    Raises:
        InputError: there is no such field.
    """
    if field in record:
        return record[field]
    value: Any = record
    for i, part in enumerate(parts := field.split(".")):
        if not isinstance(value, Mapping) or part not in value:
            inside = f" in {'.'.join(parts[:i])!r}" if i else ""
            found = f"the fields {', '.join(map(str, value)) or 'none'}" if isinstance(value, Mapping) else shorten(value)
            raise InputError(
                f"{where}: no field {field!r}", found=f"{found}{inside}", expected=f"a field {part!r}{inside}",
                mend="set `fields` of this test set, or correct the line",
            )  # fmt: skip
        value = value[part]
    return value


def text_of(value: Any, field: str, where: str, *, empty: bool = False) -> str:
    """Return a value if it is text.

    Args:
        value: value of a field.
        field: name of the field.
        where: file and line.
        empty: whether to allow ``None`` and text that is empty or only whitespace.

    Raises:
        InputError: it is empty, not text, or has unpaired surrogates.
    """
    if empty and value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(
            f"{where}: field {field!r} is not a text", found=shorten(value), expected="a string",
            mend="set `fields` of this test set to the right field, or correct the line",
        )  # fmt: skip
    if not empty and not value.strip():
        raise InputError(
            f"{where}: field {field!r} is empty", found=repr(value), expected="text, as no item is dropped in silence",
            mend="complete or remove the item",
        )  # fmt: skip
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(
            f"{where}: field {field!r} has half of a surrogate pair", found=shorten(value), expected="text that UTF-8 can hold",
            mend="correct the escapes of the line",
        )  # fmt: skip
    return value


# ---- items ----


def _choices_of(record: Mapping[str, Any], field: str | list[str], where: str) -> list[str]:
    """Return the choices of a question, from one field with a list or from one field per choice."""
    if isinstance(field, list):
        return [text_of(field_of(record, name, where), name, where) for name in field]
    value = field_of(record, field, where)
    if not isinstance(value, list) or len(value) < AT_LEAST_TWO:
        raise InputError(
            f"{where}: field {field!r} holds no choices", found=shorten(value), expected="a list of two texts or more",
            mend="set `fields.choices` of this test set to the field with the list, or to a list of fields",
        )  # fmt: skip
    return [text_of(text, f"{field}[{i}]", where) for i, text in enumerate(value)]


def answer_index(value: Any, choices: list[str], answers: str, field: str, where: str) -> int:
    """Return the index of the right choice, counted from 0.

    Args:
        value: the answer as written in the file; a number may be text.
        choices: choices of the question.
        answers: notation: ``number0`` and ``number1`` count from 0 and 1, ``letter`` from A, ``text`` is the choice itself.
        field: name of the field.
        where: file and line.

    Raises:
        InputError: the answer is in another notation, or is none of the choices.
    """
    index, last = None, len(choices) - 1
    if answers == "text":
        expected = "one of the choices, word for word: " + ", ".join(map(shorten, choices))
        if isinstance(value, str):
            places = [i for i, choice in enumerate(choices) if choice == value]
            if len(places) > 1:
                raise InputError(
                    f"{where}: the answer in field {field!r} is there twice among the choices", found=shorten(value),
                    expected="different choices", mend="correct the line, or give the answer by its number",
                )  # fmt: skip
            index = places[0] if places else None
    elif answers == "letter":
        expected = f"a letter from A to {LETTERS[min(last, len(LETTERS) - 1)]}"
        if isinstance(value, str) and len(value.strip()) == 1:
            index = LETTERS.find(value.strip().upper())
    else:
        first = int(answers == "number1")
        expected = f"a number from {first} to {first + last}"
        if isinstance(value, int) and not isinstance(value, bool):
            index = value - first
        elif isinstance(value, str) and value.strip().isdecimal():
            index = int(value) - first
    if index is None or not 0 <= index <= last:
        raise InputError(
            f"{where}: the answer in field {field!r} is none of the {len(choices)} choices", found=shorten(value),
            expected=expected, mend="set `answers` of this test set to how answers are written, or correct the line",
        )  # fmt: skip
    return index


def item_of(record: Mapping[str, Any], where: str, settings: TestsetSettings) -> dict[str, Any]:
    """Return the columns of an item without its id.

    Raises:
        InputError: a field is missing, empty or invalid.
    """
    fields = settings.fields
    if settings.kind == "choices":
        choices = _choices_of(record, fields["choices"], where)
        answer = field_of(record, fields["answer"], where)
        context = field_of(record, fields["context"], where) if "context" in fields else None
        return {
            "question": text_of(field_of(record, fields["question"], where), fields["question"], where),
            "context": text_of(context, fields.get("context", ""), where, empty=True),
            "choices": choices,
            "answer": answer_index(answer, choices, settings.answers, fields["answer"], where),
        }
    return {name: text_of(field_of(record, field, where), field, where) for name, field in fields.items()}


def _too_long_or_short(item: Mapping[str, Any], settings: TestsetSettings) -> str | None:
    """Return why a prompt is excluded, or ``None`` if the item is kept."""
    if settings.kind != "prompts":
        return None
    length = len(item["text"])
    if length < settings.min_characters:
        return "fewer than min_characters"
    if settings.max_characters is not None and length > settings.max_characters:
        return "more than max_characters"
    return None


def _own_ids(ids: list[Any]) -> list[str] | None:
    """Return the ids from the file as text, or ``None`` if one is missing or they are not unique."""
    if not all(isinstance(own, str | int) and not isinstance(own, bool) and str(own).strip() for own in ids):
        return None
    names = [str(own) for own in ids]
    if len(set(names)) < len(names):
        log.warning("warning: the field %r of the items is not unique; ids are made of what they say", ID)
        return None
    return names


def _hashed_ids(items: list[dict[str, Any]]) -> list[str]:
    """Return a hash of each item's content, 16 hex digits; the second of equal items gets ``-2``."""
    times: Counter[str] = Counter()
    ids = []
    for item in items:
        digest = sha256_json(item)[:16]
        times[digest] += 1
        ids.append(digest if times[digest] == 1 else f"{digest}-{times[digest]}")
    return ids


def bytes_read(item: Mapping[str, Any]) -> int:
    """Count the UTF-8 bytes a model reads; question and context count once per choice."""
    if "choices" in item:
        stem = len(item["question"].encode()) + len(item["context"].encode())
        return sum(stem + len(choice.encode()) for choice in item["choices"])
    return sum(len(text.encode()) for text in item.values())


def make_items(records: Iterator[Record], settings: TestsetSettings) -> tuple[pa.Table, dict[str, Any]]:
    """Check records and convert them to the format of their kind.

    Args:
        records: records in the order of the files.
        settings: settings of the test set.

    Returns:
        The items, with the columns of ``columns(settings)``, and figures for the manifest: ``read``, ``items``, ``left_out``
        (number per reason), ``repeated`` (items equal to an earlier one), ``ids`` (``field`` or ``hash``), ``bytes`` (see
        :func:`bytes_read`).

    Raises:
        InputError: a record is invalid, or no item is left.
    """
    items, ids, left_out, read = [], [], Counter(), 0
    for where, record in records:
        if settings.limit is not None and len(items) == settings.limit:
            break
        read += 1
        item = item_of(record, where, settings)
        reason = _too_long_or_short(item, settings)
        if reason is not None:
            left_out[reason] += 1
            continue
        items.append(item)
        ids.append(record.get(ID))
    if not items:
        raise InputError(
            "the test set has no items", found=f"{read} read" + "".join(f", {n} with {why}" for why, n in left_out.items()),
            expected="at least one", mend="check its files, or its bounds on the length of prompts",
        )  # fmt: skip
    own = _own_ids(ids)
    rows = [{ID: name, **item} for name, item in zip(own or _hashed_ids(items), items, strict=True)]
    repeated = len(items) - len({sha256_json(item) for item in items})
    if repeated:
        log.warning("warning: %d items say the same as one before them; they are kept", repeated)
    figures = {
        "read": read, "items": len(items), "left_out": dict(left_out), "repeated": repeated, "ids": "field" if own else "hash",
        "bytes": sum(map(bytes_read, items)),
    }  # fmt: skip
    return pa.Table.from_pylist(rows, schema=columns(settings)), figures


def prepare_testset(
    name: str,
    settings: TestsetSettings,
    items: Path,
    manifest: Path,
    *,
    files: Sequence[str | Path] = (),
    text_files: Mapping[str, str | Path] | None = None,
    fetched: Path | None = None,
) -> dict[str, Any]:
    """Write a test set's items and manifest, from exactly one of three origins.

    Args:
        name: name of the test set.
        settings: settings of the test set.
        items: Parquet file to write.
        manifest: JSON file to write.
        files: JSONL or Parquet files.
        text_files: plain text file of each language.
        fetched: folder with Parquet files and ``provenance.json``, from ``fetch_testset``.

    Returns:
        The manifest: ``name``, the figures of :func:`make_items`, ``files`` (bytes and SHA-256 of each input), ``settings``,
        ``license``, and ``provenance`` of fetched data.

    Raises:
        InputError: an input is invalid.
        ArtifactError: the folder was not fetched completely.
    """
    provenance = read_json(fetched / PROVENANCE) if fetched else None
    inputs = sorted(fetched.glob("*.parquet")) if fetched else list(text_files.values()) if text_files else list(files)
    records = aligned_records(text_files) if text_files else file_records(inputs)
    table, figures = make_items(records, settings)
    language = "-".join(settings.fields) if settings.kind == "parallel" else settings.language
    testset = Testset(name, settings.kind, language, settings.domain, table)
    write_testset(items, testset)
    record = {
        **testset.about(), **figures, "license": settings.license, "settings": settings.plain(), "provenance": provenance,
        "files": {str(path): {"bytes": Path(path).stat().st_size, "sha256": sha256_file(path)} for path in inputs},
    }  # fmt: skip
    write_json(manifest, record)
    log.info("%s: %d items of %d read", name, figures["items"], figures["read"])
    return record
