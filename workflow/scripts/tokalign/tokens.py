"""Tokenising: each corpus once per tokenizer, into shards that every later step maps into memory (``tokalign/shards.py``)."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tokalign.errors import ArtefactError, InputError
from tokalign.files import atomic_file
from tokalign.progress import Progress
from tokalign.shards import SCHEMA

log = logging.getLogger(__name__)


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
