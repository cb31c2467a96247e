"""Data sets of the Hugging Face hub, with texts or items written as Parquet."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from requests.exceptions import RequestException

from tokalign.common.errors import InputError
from tokalign.common.files import write_json
from tokalign.common.progress import Progress

ROWS_PER_FILE = 100_000
SHUFFLE_BUFFER = 10_000
"""Documents in the shuffle buffer; the order of the data set's files is shuffled as well."""


def _open(settings: dict[str, Any]) -> tuple[datasets.IterableDataset, str]:
    """Return the rows of a split as a stream, and the commit of the revision.

    Raises:
        InputError: the data set cannot be reached or has no such revision, subset or split.
    """
    name = settings["hub"]
    try:
        commit = HfApi().dataset_info(name, revision=settings["revision"]).sha
        return datasets.load_dataset(name, settings["subset"], split=settings["split"], revision=commit, streaming=True), commit
    except (ValueError, OSError, RuntimeError, RequestException, HfHubHTTPError) as error:
        raise InputError(
            f"data set {name}: cannot be opened",
            found=f"{type(error).__name__}: {error}",
            expected=f"revision {settings['revision']}, subset {settings['subset']}, split {settings['split']}",
            mend="check the names on the hub; for a gated data set set HF_TOKEN; run `snakemake fetched` on a machine with network",
        ) from error


def fetch_testset(settings: dict[str, Any], out: Path) -> None:
    """Write the first rows of a split in order, with all fields.

    Args:
        settings: ``hub`` (owner/name), ``revision``, ``subset``, ``split``, ``limit`` (rows, or ``None`` for all).
        out: an existing empty folder; gets ``00000.parquet`` ... and ``provenance.json``.

    Raises:
        InputError: the data set cannot be reached, has no such split, no rows, or rows that are not text, numbers and lists of these.
    """
    name, limit = settings["hub"], settings["limit"]
    rows, commit = _open(settings)
    progress = Progress(f"fetching {name}", limit, "rows")
    stream = iter(rows if limit is None else rows.take(limit))
    number = 0
    while part := list(itertools.islice(stream, ROWS_PER_FILE)):
        try:
            pq.write_table(pa.Table.from_pylist(part), out / f"{number // ROWS_PER_FILE:05d}.parquet", compression="zstd")
        except pa.ArrowException as error:
            raise InputError(
                f"data set {name}: rows {number} to {number + len(part)} hold more than text, numbers and lists",
                found=error,
                expected="items of text",
                mend="convert the data set to JSONL and give it by `files`",
            ) from error
        number += len(part)
        progress.advance(len(part))
    progress.close()
    if not number:
        raise InputError(f"data set {name}: split {settings['split']} has no rows", mend="choose another split")
    write_json(out / "provenance.json", {**settings, "commit": commit, "rows": number})


def fetch_dataset(settings: dict[str, Any], out: Path) -> None:
    """Write the texts of a split in a seeded random order.

    Args:
        settings: ``hub`` (owner/name), ``revision``, ``subset``, ``split``, ``max_bytes`` (of UTF-8 text, or ``None``),
            ``text_field``, ``seed``.
        out: an existing empty folder; gets ``00000.parquet`` ... with the column ``text``, and ``provenance.json``.

    Raises:
        InputError: the data set cannot be reached or has no such split or field.
    """
    name, field, limit = settings["hub"], settings["text_field"], settings["max_bytes"]
    rows, commit = _open(settings)
    progress = Progress(f"fetching {name}", limit, "bytes")
    texts: list[str] = []
    files = written = documents = 0

    def flush() -> None:
        nonlocal files
        pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), out / f"{files:05d}.parquet", compression="zstd")
        files += 1
        texts.clear()

    for number, row in enumerate(rows.shuffle(seed=settings["seed"], buffer_size=SHUFFLE_BUFFER), 1):
        if field not in row:
            raise InputError(
                f"data set {name}: documents without text",
                found=f"the fields {', '.join(row)}",
                expected=f"a field {field!r}",
                mend="set `text_field`",
            )
        if not isinstance(row[field], str):
            raise InputError(
                f"data set {name} row {number}: the text is not a string", found=repr(row[field])[:80], mend="set `text_field`"
            )
        size = len(row[field].encode("utf-8", "replace"))
        if limit is not None and written + size > limit:
            break
        texts.append(row[field])
        written += size
        documents += 1
        progress.advance(size)
        if len(texts) == ROWS_PER_FILE:
            flush()
    if texts:
        flush()
    progress.close()
    if not documents:
        raise InputError(f"data set {name}: no document was fetched", expected="text within `max_bytes`")
    write_json(out / "provenance.json", {**settings, "commit": commit, "documents": documents, "bytes": written})
