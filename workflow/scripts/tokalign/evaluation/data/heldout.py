"""Held-out documents: the same text for all compared models and tokenizers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokalign.common.errors import ArtifactError
from tokalign.common.files import atomic_file
from tokalign.config.evaluations import HeldoutSettings

log = logging.getLogger(__name__)

COLUMNS = ("id", "text", "language", "domain")
SCHEMA = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("language", pa.string()), ("domain", pa.string()), ("bytes", pa.int32())]
)


def cut(text: str, max_bytes: int) -> str:
    """Return the longest prefix of a text within ``max_bytes`` UTF-8 bytes that ends before whitespace.

    If the second half of that prefix has no whitespace (as in Chinese), the text is cut between any two characters.

    Args:
        text: without lone surrogates.
        max_bytes: at least 1.

    Returns:
        ``text`` if it is short enough; else a prefix without trailing whitespace.
    """
    data = text.encode("utf-8")
    if len(data) <= max_bytes:
        return text
    head = data[:max_bytes].decode("utf-8", errors="ignore")
    if not text[len(head)].isspace():
        word = next((i for i in range(len(head) - 1, len(head) // 2, -1) if head[i].isspace()), len(head))
        head = head[:word]
    return head.rstrip()


def sample(documents: list[dict[str, Any]], settings: HeldoutSettings) -> list[dict[str, Any]]:
    """Choose held-out documents per language and domain, by ascending id, until there are enough bytes.

    The id is a hash of the text, so the order is random with respect to content, but the same everywhere.

    Args:
        documents: rows with ``id``, ``text``, ``language`` and ``domain`` (str).
        settings: bytes per group and per document.

    Returns:
        Rows of ``SCHEMA``, sorted by language, domain and id. The last document of a group is not shortened to fit,
        so a group can exceed ``bytes_per_group`` by up to ``max_document_bytes``.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in documents:
        groups.setdefault((row["language"], row["domain"]), []).append(row)
    chosen = []
    for (language, domain), rows in sorted(groups.items()):
        total = taken = 0
        for row in sorted(rows, key=lambda row: row["id"]):
            if total >= settings.bytes_per_group:
                break
            text = cut(row["text"], settings.max_document_bytes)
            size = len(text.encode("utf-8"))
            if not text.strip():
                continue
            chosen.append({"id": row["id"], "text": text, "language": language, "domain": domain, "bytes": size})
            total, taken = total + size, taken + 1
        if not taken:
            log.warning("warning: %s, %s: no validation document with text; this group is not evaluated", language, domain)
        elif total < settings.bytes_per_group:
            log.warning(
                "warning: %s, %s: only %d bytes in %d documents, fewer than the %d asked for",
                language, domain, total, taken, settings.bytes_per_group,
            )  # fmt: skip
        else:
            log.info("%s, %s: %d documents, %d bytes", language, domain, taken, total)
    return chosen


def write_heldout(validation: str | Path, settings: HeldoutSettings, output: str | Path) -> None:
    """Choose held-out documents from the validation part of a corpus and write them.

    Args:
        validation: Parquet file with ``id``, ``text``, ``language`` and ``domain`` (string).
        settings: bytes per group and per document.
        output: Parquet file of ``SCHEMA``.

    Raises:
        ArtifactError: the file is missing or damaged, lacks a column, or has no document with text.
    """
    try:
        table = pq.read_table(validation, columns=list(COLUMNS))
    except FileNotFoundError as error:
        raise ArtifactError(f"{validation}: no such file", mend="prepare the corpus first") from error
    except pa.ArrowException as error:
        raise ArtifactError(f"{validation}: not a readable Parquet file", found=error, mend="make it again") from error
    missing = sorted(set(COLUMNS) - set(table.column_names))
    if missing:
        raise ArtifactError(
            f"{validation}: columns are missing: {', '.join(missing)}",
            found=table.column_names,
            expected=", ".join(COLUMNS),
            mend="make it again",
        )
    chosen = sample(table.to_pylist(), settings)
    if not chosen:
        raise ArtifactError(
            f"{validation}: there are no validation documents",
            found=f"{table.num_rows} rows, none with text",
            expected="at least one document",
            mend="raise the corpus' share or number of validation documents, or give it more text",
        )
    with atomic_file(output) as partial:
        pq.write_table(pa.Table.from_pylist(chosen, schema=SCHEMA), partial, compression="zstd")


def read_heldout(path: str | Path) -> pa.Table:
    """Read held-out documents.

    Returns:
        Table with ``id``, ``text``, ``language``, ``domain`` (string) and ``bytes`` (int32).

    Raises:
        ArtifactError: the file, a column or all rows are missing, or ``bytes`` is not the size of ``text``.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file", mend="choose the held-out documents first") from error
    except pa.ArrowException as error:
        raise ArtifactError(
            f"{path}: not a readable Parquet file", found=error, mend="choose the held-out documents again"
        ) from error
    if not set(SCHEMA.names) <= set(table.column_names) or not table.num_rows:
        raise ArtifactError(
            f"{path}: not a file of held-out documents",
            found=f"{table.num_rows} rows with columns {table.column_names}",
            expected=f"rows with {', '.join(SCHEMA.names)}",
            mend="choose the held-out documents again",
        )
    for name, text, size in zip(*(table[c].to_pylist() for c in ("id", "text", "bytes")), strict=True):
        if len(text.encode("utf-8")) != size:
            raise ArtifactError(
                f"{path}: document {name} has another size than it says",
                found=f"{len(text.encode('utf-8'))} bytes",
                expected=f"{size} bytes",
                mend="choose the held-out documents again",
            )
    return table
