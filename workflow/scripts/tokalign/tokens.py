"""Token shards: each corpus is tokenised once per tokenizer, and every later step maps the result into memory.

A shard is an Arrow IPC file with a row per document: ``document`` (its id), ``ids`` (large_list of uint32, without special
tokens), ``bytes``, ``characters`` and ``words`` of its text (int32; words are split at white space), ``language``, ``domain``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tokalign.errors import ArtefactError, InputError
from tokalign.files import atomic_file
from tokalign.progress import Progress

log = logging.getLogger(__name__)

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


def load_tokenizer(folder: str | Path, trust_remote_code: bool = False) -> PreTrainedTokenizerFast:
    """Load the fast tokenizer of a resolved tokenizer or checkpoint folder.

    Raises:
        InputError: it has no fast (Rust) implementation.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    if not tokenizer.is_fast:
        raise InputError(
            f"{folder}: the tokenizer has no fast implementation", found=type(tokenizer).__name__, expected="a tokenizer.json"
        )
    return tokenizer


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Return the token ids of texts, without special tokens and without truncation."""
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def tokenize_shard(text: Path, tokenizer: PreTrainedTokenizerFast, out: Path) -> dict[str, int]:
    """Tokenise a Parquet shard of documents into an Arrow token shard.

    Args:
        text: Parquet file with the columns of a corpus's text shard.
        tokenizer: a fast tokenizer.
        out: Arrow file to write.

    Returns:
        Numbers of ``documents``, ``tokens`` and ``bytes``.

    Raises:
        ArtefactError: the text shard cannot be read.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    try:
        source = pq.ParquetFile(text)
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtefactError(f"{text}: not a readable text shard", found=error, mend="delete it and run again") from error
    totals = {"documents": 0, "tokens": 0, "bytes": 0}
    with source, atomic_file(out) as partial, pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        progress = Progress(f"tokenising {text.name}", source.metadata.num_rows, "documents")
        for batch in source.iter_batches(batch_size=512):
            texts = batch.column("text").to_pylist()
            ids = encode(tokenizer, texts)
            sizes = [len(t.encode("utf-8")) for t in texts]
            offsets = np.zeros(len(ids) + 1, dtype=np.int64)
            np.cumsum([len(i) for i in ids], out=offsets[1:])
            flat = np.concatenate([np.asarray(i, dtype=np.uint32) for i in ids]) if len(ids) else np.zeros(0, np.uint32)
            columns = [
                batch.column("id"),
                pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat)),
                pa.array(sizes, pa.int32()),
                pa.array([len(t) for t in texts], pa.int32()),
                pa.array([len(t.split()) for t in texts], pa.int32()),
                batch.column("language"),
                batch.column("domain"),
            ]
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            totals["documents"] += len(ids)
            totals["tokens"] += int(offsets[-1])
            totals["bytes"] += sum(sizes)
            progress.advance(len(ids))
        progress.close(f"{totals['tokens']} tokens, {totals['bytes'] / max(totals['tokens'], 1):.2f} bytes per token")
    return totals


@dataclass(frozen=True)
class TokenBatch:
    """Documents of one record batch, mapped into memory.

    Attributes:
        ids: token ids of all its documents, one behind the other, uint32.
        offsets: where each document begins in ``ids``, and the end of the last, int64, shape (documents + 1,).
        table: the whole record batch, for the other columns.
    """

    ids: np.ndarray
    offsets: np.ndarray
    table: pa.RecordBatch


def read_shard(path: str | Path) -> Iterator[TokenBatch]:
    """Yield the record batches of a token shard without copying them.

    Raises:
        ArtefactError: the file is missing, truncated, or not a token shard.
    """
    try:
        file = pa.ipc.open_file(pa.memory_map(str(path)))
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtefactError(f"{path}: not a readable token shard", found=error, mend="delete it and run again") from error
    if file.schema.names != SCHEMA.names:
        raise ArtefactError(
            f"{path}: not a token shard", found=f"columns {file.schema.names}", expected=f"columns {SCHEMA.names}"
        )
    for i in range(file.num_record_batches):
        table = file.get_batch(i)
        column = table.column("ids")
        yield TokenBatch(
            ids=column.values.to_numpy(zero_copy_only=True), offsets=column.offsets.to_numpy(zero_copy_only=True), table=table
        )
