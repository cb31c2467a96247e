"""Token shards for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from tokalign.tokens.shards import SCHEMA

REST = {"document": "d", "bytes": 1, "characters": 1, "words": 1, "language": "en", "domain": "web"}


def write_shard(path: Path, documents: Sequence[Sequence[int] | Mapping[str, Any]], rows: int | None = None) -> Path:
    """Write documents, given by ids or by some of their columns, in record batches of ``rows`` rows (or in one)."""
    table = [{**REST, **(each if isinstance(each, Mapping) else {"ids": list(each)})} for each in documents]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for start in range(0, max(len(table), 1), rows or max(len(table), 1)):
            writer.write_batch(pa.RecordBatch.from_pylist(table[start : start + (rows or len(table))], schema=SCHEMA))
    return path
