"""Token shards as text: a document per line, its ids in decimal with spaces between, as GloVe's and fastText's tools read it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from tokalign.common.progress import Progress
from tokalign.tokens.shards import read_shard


def write_token_text(shards: Iterable[str | Path], text: Path) -> dict[str, int]:
    """Write the documents of token shards as lines; documents without tokens are left out.

    Args:
        shards: token shards, in the order in which they are written.
        text: file to write; nothing reads it if this fails.

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
