"""Pack documents into training blocks of equal length, with EOS after each document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tokalign.common.errors import ArtifactError, InputError
from tokalign.common.files import atomic_file
from tokalign.common.progress import Progress
from tokalign.tokens.shards import read_shard

ROWS_PER_BATCH = 1024


def pack_shards(shards: list[Path], block: int, eos: int, out: Path) -> dict[str, Any]:
    """Write the documents of token shards as training blocks, in order.

    The stream is document, EOS, document, EOS, ...; it is cut every ``block`` tokens across shards, and only the last partial
    block is dropped.

    Args:
        shards: token shards.
        block: tokens per block.
        eos: id of the token that ends a document.
        out: Arrow IPC file to write, one column ``ids``: fixed_size_list of uint32; every batch but the last has 1,024 rows.

    Returns:
        ``blocks``, ``block``, ``tokens`` (in blocks, EOS included), ``documents``, ``bytes`` of their text, ``dropped_tokens``.

    Raises:
        InputError: the shards hold less than one block.
    """
    schema = pa.schema([("ids", pa.list_(pa.uint32(), block))])
    rest = np.zeros(0, dtype=np.uint32)
    pending: list[np.ndarray] = []
    waiting = 0
    figures = {"block": block, "blocks": 0, "documents": 0, "bytes": 0}
    progress = Progress("packing", None, "documents")

    with atomic_file(out) as partial, pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, schema) as writer:

        def emit(rows: np.ndarray) -> None:
            writer.write_batch(pa.record_batch([pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), block)], schema=schema))
            figures["blocks"] += len(rows)

        for shard in shards:
            for batch in read_shard(shard):
                documents = len(batch.offsets) - 1
                stream = np.insert(batch.ids, batch.offsets[1:], eos)
                pending.append(stream)
                waiting += len(stream)
                figures["documents"] += documents
                figures["bytes"] += int(np.sum(batch.table.column("bytes").to_numpy()))
                progress.advance(documents)
                if waiting >= ROWS_PER_BATCH * block:
                    joined = np.concatenate(pending)
                    full = len(joined) // (ROWS_PER_BATCH * block)
                    for rows in joined[: full * ROWS_PER_BATCH * block].reshape(full, ROWS_PER_BATCH, block):
                        emit(rows)
                    pending, waiting = [joined[full * ROWS_PER_BATCH * block :]], len(joined) - full * ROWS_PER_BATCH * block
        rest = np.concatenate(pending) if pending else rest
        whole = len(rest) // block
        if whole:
            emit(rest[: whole * block].reshape(whole, block))
        if not figures["blocks"]:
            raise InputError(
                f"{shards[0].parent}: too little text for one training block",
                found=f"{len(rest)} tokens with EOS",
                expected=f"at least {block}",
                mend="lower `block` of the recipe, or give more text",
            )
    progress.close()
    return figures | {"tokens": figures["blocks"] * block, "dropped_tokens": len(rest) - whole * block}


@dataclass(frozen=True)
class PackedBlocks:
    """The memory-mapped blocks of a packed file; ``[i]`` is an int64 array of one block."""

    batches: list[np.ndarray]
    block: int

    @classmethod
    def open(cls, path: str | Path) -> PackedBlocks:
        """Open a file that ``pack_shards`` wrote.

        Raises:
            ArtifactError: the file is missing, truncated or of another kind.
        """
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            kind = file.schema.field("ids").type
            block = kind.list_size
        except (OSError, KeyError, AttributeError, pa.ArrowInvalid) as error:
            raise ArtifactError(
                f"{path}: not a readable file of training blocks", found=error, mend="delete it and run again"
            ) from error
        columns = (file.get_batch(i).column(0) for i in range(file.num_record_batches))
        return cls([column.values.to_numpy(zero_copy_only=True).reshape(-1, block) for column in columns], block)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return sum(len(batch) for batch in self.batches)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return a block as int64 token ids, shape (block,)."""
        return self.batches[index // ROWS_PER_BATCH][index % ROWS_PER_BATCH].astype(np.int64)
