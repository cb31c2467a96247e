"""Token shards as text for GloVe and fastText: a document per line, ids in decimal."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from tokalign.common.progress import Progress
from tokalign.tokens.shards import read_shard


def write_token_text(shards: Iterable[str | Path], text: Path) -> dict[str, int]:
    """Write the documents of token shards as lines; documents without tokens are left out.

    Args:
        shards: token shards, in the order of writing.
        text: file to write; not atomic, since nothing reads it after an error.

    Returns:
        Numbers of ``documents`` and ``tokens`` written.

    Raises:
        ArtifactError: a shard is missing or damaged.
    """
    totals = {"documents": 0, "tokens": 0}
    progress = Progress("tokens written as text", None, "tokens")
    with text.open("w", encoding="ascii") as file:
        for shard in shards:
            for batch in read_shard(shard):
                ids, offsets = batch.ids.tolist(), batch.offsets.tolist()
                for first, last in itertools.pairwise(offsets):
                    if last > first:
                        file.write(" ".join(map(str, ids[first:last])) + "\n")
                        totals["documents"] += 1
                totals["tokens"] += len(ids)
                progress.advance(len(ids))
    progress.close()
    return totals
