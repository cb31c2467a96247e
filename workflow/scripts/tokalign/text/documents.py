"""Read documents from the user's files: JSONL, Parquet and plain text, compressed or not."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tokalign.common.errors import InputError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
FORMATS = (".jsonl", ".parquet", ".txt")
SUPPORTED = ".jsonl, .jsonl.gz, .jsonl.zst, .parquet, .txt, .txt.gz, .txt.zst"


def file_format(path: Path) -> tuple[str, str | None]:
    """Return a file's format and compression by its name.

    Raises:
        InputError: the name has none of the supported endings.
    """
    compression = COMPRESSIONS.get(path.suffix)
    form = Path(path.stem).suffix if compression else path.suffix
    if form not in FORMATS or (form == ".parquet" and compression):
        raise InputError(
            f"{path}: unknown kind of file",
            found=path.name,
            expected=f"a name that ends in {SUPPORTED}",
            mend="convert or rename it",
        )
    return form, compression


def _open(path: Path, compression: str | None) -> BinaryIO:
    if compression == "gzip":
        return gzip.open(path, "rb")
    file = path.open("rb")
    if compression == "zstd":
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True), 1 << 20)
    return file


def read_lines(path: Path, compression: str | None) -> Iterator[tuple[int, str]]:
    """Yield (number, line including its line end) of a UTF-8 text file.

    Args:
        path: the file.
        compression: a value of ``COMPRESSIONS``, or ``None``.

    Raises:
        InputError: the file is damaged, truncated (if compressed) or not UTF-8.
    """
    for number, raw in _raw_lines(path, compression):
        yield number, _decode(raw, path, number)


def _raw_lines(path: Path, compression: str | None) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with _open(path, compression) as file:
            for number, line in enumerate(file, 1):
                yield number, line
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise InputError(
            f"{path}: the compressed file is truncated or damaged after line {number}", found=error,
            mend="copy or download the file again; `gzip -t` or `zstd -t` tells whether it is complete",
        ) from error  # fmt: skip
    if compression == "zstd" and not _zstd_complete(path):
        raise InputError(
            f"{path}: the compressed file is truncated after line {number}", found="the last zstd frame has no end",
            mend="copy or download the file again; `zstd -t` tells whether it is complete",
        )  # fmt: skip


def _zstd_complete(path: Path) -> bool:
    """Return whether a zstd file's last frame is complete (the stream reader ignores truncation)."""
    complete = True
    with path.open("rb") as file:
        rest = b""
        while True:
            decompressor = zstandard.ZstdDecompressor().decompressobj()
            while not decompressor.eof:
                chunk = rest or file.read(1 << 20)
                rest = b""
                if not chunk:
                    return complete
                complete = False
                decompressor.decompress(chunk)
            rest, complete = decompressor.unused_data, True


def _decode(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} line {number}: not UTF-8", found=error, mend="convert the file, for instance with iconv"
        ) from error


def shorten(value: object, limit: int = 80) -> str:
    """Format a value for messages: text in quotes, long values cut off."""
    if isinstance(value, str):
        return repr(value if len(value) <= limit else value[:limit] + "...")
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "..."


def read_records(path: Path, compression: str | None, expected: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSONL file; skip blank lines.

    Args:
        path: the file.
        compression: a value of ``COMPRESSIONS``, or ``None``.
        expected: what a line should be, for messages.

    Raises:
        InputError: the file is damaged or not UTF-8, or a line is not a JSON object.
    """
    for number, text in read_lines(path, compression):
        if not text.strip():
            continue
        line = text.rstrip("\r\n")
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path} line {number}: not JSON ({error.msg} at column {error.colno})", found=shorten(line.strip()),
                expected=expected, mend="correct or remove the line",
            ) from error  # fmt: skip
        if not isinstance(record, dict):
            raise InputError(
                f"{path} line {number}: not a JSON object", found=shorten(line.strip()), expected="an object in braces"
            )
        yield number, record


def _jsonl(path: Path, compression: str | None, field: str, dropped: Counter[str]) -> Iterator[str]:
    for number, record in read_records(path, compression, f'one JSON object a line, with the text under "{field}"'):
        if field not in record:
            raise InputError(
                f"{path} line {number}: a document without text", found=f"the fields {', '.join(map(repr, record)) or 'none'}",
                expected=f'a field "{field}"', mend="set `text_field` of this source to the name of the field, or remove the line",
            )  # fmt: skip
        yield from _text(record[field], f"{path} line {number}", field, dropped)


def _text(value: object, where: str, field: str, dropped: Counter[str]) -> Iterator[str]:
    """Yield a document's text; count empty texts, refuse other types."""
    if value is None or (isinstance(value, str) and not value.strip()):
        dropped["empty"] += 1
    elif isinstance(value, str):
        yield value
    else:
        raise InputError(
            f"{where}: the text of the document is not a string", found=shorten(value), expected=f'a string under "{field}"',
            mend="set `text_field` of this source to the right field, or correct the document",
        )  # fmt: skip


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number from 1, row) of a Parquet file.

    Args:
        path: the file.
        columns: columns to read; ``None`` for all.

    Raises:
        InputError: the file is damaged or has no such column.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file", found=error, mend="copy or download it again") from error
    with file:
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            raise InputError(
                f"{path}: documents without text", found=f"the columns {', '.join(file.schema_arrow.names)}",
                expected=f"a column {missing[0]!r}", mend="set `text_field` of this source to the name of the column",
            )  # fmt: skip
        number = 0
        try:
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path}: damaged after row {number}", found=error, mend="copy or download it again") from error


def _parquet(path: Path, field: str, dropped: Counter[str]) -> Iterator[str]:
    for number, row in read_rows(path, [field]):
        yield from _text(row[field], f"{path} row {number}", field, dropped)


def _plain(path: Path, compression: str | None, dropped: Counter[str]) -> Iterator[str]:
    """Yield the paragraphs of a text file: blocks of lines between empty lines."""
    paragraph: list[str] = []
    for _, line in read_lines(path, compression):
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield "".join(paragraph).rstrip("\r\n")
            paragraph = []
    if paragraph:
        yield "".join(paragraph).rstrip("\r\n")


def read_documents(path: str | Path, field: str, dropped: Counter[str]) -> Iterator[str]:
    """Yield the texts of a file's documents.

    Args:
        path: a ``.jsonl`` (one object a line), ``.parquet`` or ``.txt`` (a document per paragraph) file; the first and the
            last also ``.gz`` or ``.zst``.
        field: name of the field or column that holds the text.
        dropped: gets the number of documents that are empty or whitespace, under ``empty``.

    Yields:
        The unchanged text of each document.

    Raises:
        InputError: the file is missing, truncated or not UTF-8, or a document is wrong; the error names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file", mend="correct the path in the configuration")
    form, compression = file_format(path)
    if form == ".jsonl":
        return _jsonl(path, compression, field, dropped)
    if form == ".parquet":
        return _parquet(path, field, dropped)
    return _plain(path, compression, dropped)
