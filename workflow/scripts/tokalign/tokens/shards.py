"""Token shards: their schema and their reader.

A shard is an Arrow IPC file with a row per document: ``document`` (its id), ``ids`` (large_list of uint32, without special
tokens), ``bytes``, ``characters`` and ``words`` of its text (int32; words are split at whitespace), ``language``, ``domain``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokalign.common.errors import ArtifactError

SCHEMA = pa.schema(
    [
        ("document", pa.string()),
        ("ids", pa.large_list(pa.uint32())),
        ("bytes", pa.int32()),
        ("characters", pa.int32()),
        ("words", pa.int32()),
        ("language", pa.string()),
        ("domain", pa.string()),
    ]
)


@dataclass(frozen=True)
class TokenBatch:
    """The documents of a memory-mapped record batch, at least one.

    Attributes:
        ids: concatenated token ids of all its documents, uint32.
        offsets: start of each document in ``ids``, and the end of the last, int64, shape (documents + 1,).
        table: the whole record batch, for the other columns.
    """

    ids: np.ndarray
    offsets: np.ndarray
    table: pa.RecordBatch


def read_shard(path: str | Path) -> Iterator[TokenBatch]:
    """Yield the record batches of a token shard without copying their ids.

    Raises:
        ArtifactError: the file is missing, truncated, or not a token shard.
    """
    mend = "delete it and rerun the step that makes it"
    try:
        file = pa.ipc.open_file(pa.memory_map(str(path)))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file", mend="run the step that makes it") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"{path}: not a readable token shard", found=error, mend=mend) from error
    if not file.schema.equals(SCHEMA):
        found, expected = (", ".join(f"{field.name} {field.type}" for field in schema) for schema in (file.schema, SCHEMA))
        raise ArtifactError(f"{path}: not a token shard", found=f"columns {found}", expected=f"columns {expected}", mend=mend)
    for number in range(file.num_record_batches):
        try:
            table = file.get_batch(number)
        except (OSError, pa.ArrowInvalid) as error:
            raise ArtifactError(f"{path}: batch {number} is damaged", found=error, mend=mend) from error
        if not table.num_rows:
            continue
        column = table.column("ids")
        offsets = column.offsets.to_numpy(zero_copy_only=True)
        # If a batch is a slice of another, values may begin before its first document and end after its last.
        ids = column.values.to_numpy(zero_copy_only=True)[offsets[0] : offsets[-1]]
        yield TokenBatch(ids=ids, offsets=offsets - offsets[0] if offsets[0] else offsets, table=table)
