"""Tokenize text shards into token shards (``tokens/shards.py``), once per corpus and tokenizer."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tokalign.common.errors import ArtifactError
from tokalign.common.files import atomic_file
from tokalign.common.progress import Progress
from tokalign.tokens.shards import SCHEMA

log = logging.getLogger(__name__)

BATCH_DOCUMENTS = 512
"""Documents per record batch of a shard."""
PIECE_CHARACTERS = 1 << 20
"""Characters per call of the tokenizer, or one longer document: its encodings take about 100 bytes per token."""
BATCHES_AHEAD = 2
"""Record batches in progress: while the tokenizer finishes the last documents of one, its threads begin the next."""


def pieces(sizes: list[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges ``first, last`` of total size at most ``most``, or one element."""
    first = total = 0
    for number, size in enumerate(sizes):
        if number > first and total + size > most:
            yield first, number
            first, total = number, 0
        total += size
    if first < len(sizes):
        yield first, len(sizes)


def tokenize_batch(backend: Tokenizer, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Tokenize rows of a text shard into rows of a token shard."""
    texts = batch.column("text").to_pylist()
    characters = [len(text) for text in texts]
    ids: list[NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
    for first, last in pieces(characters, PIECE_CHARACTERS):
        encodings = backend.encode_batch_fast(texts[first:last], add_special_tokens=False)
        ids += [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]
    columns = [
        batch.column("id"),
        pa.LargeListArray.from_arrays(pa.array(np.cumsum([len(i) for i in ids])), pa.array(np.concatenate(ids))),
        pa.array([len(text.encode("utf-8")) for text in texts], pa.int32()),
        pa.array(characters, pa.int32()),
        pa.array([len(text.split()) for text in texts], pa.int32()),
        batch.column("language"),
        batch.column("domain"),
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def tokenize_shard(text: Path, backend: Tokenizer, out: Path) -> dict[str, int]:
    """Tokenize a Parquet shard of documents into an Arrow token shard.

    Args:
        text: Parquet file with the columns of a corpus's text shard.
        backend: the tokenizer, with threads of its own; truncation and padding are switched off.
        out: Arrow file to write.

    Returns:
        Numbers of ``documents``, ``tokens`` and ``bytes``.

    Raises:
        ArtifactError: the text shard cannot be read.
    """
    backend.no_truncation()
    backend.no_padding()
    try:
        source = pq.ParquetFile(text)
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"{text}: not a readable text shard", found=error, mend="delete it and run again") from error
    totals = {"documents": 0, "tokens": 0, "bytes": 0}
    with (
        source,
        atomic_file(out) as partial,
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, SCHEMA) as writer,
        ThreadPoolExecutor(BATCHES_AHEAD) as pool,
    ):
        progress = Progress(f"tokenizing {text.name}", source.metadata.num_rows, "documents")
        waiting: deque[Future[pa.RecordBatch]] = deque()

        def write_first() -> None:
            rows = waiting.popleft().result()
            writer.write_batch(rows)
            totals["documents"] += rows.num_rows
            totals["tokens"] += len(rows.column("ids").values)
            totals["bytes"] += pa.compute.sum(rows.column("bytes"), min_count=0).as_py()
            progress.advance(rows.num_rows)

        for batch in source.iter_batches(batch_size=BATCH_DOCUMENTS):
            waiting.append(pool.submit(tokenize_batch, backend, batch))
            if len(waiting) > BATCHES_AHEAD:
                write_first()
        while waiting:
            write_first()
        progress.close(f"{totals['tokens']} tokens, {totals['bytes'] / max(totals['tokens'], 1):.2f} bytes per token")
    return totals
