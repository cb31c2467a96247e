"""Token counts over shards, and the tokens that are frequent enough."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tokalign.common.errors import ArtifactError, InputError
from tokalign.common.progress import Progress
from tokalign.tokens.shards import read_shard

PIECE_TOKENS = 1 << 20
"""Tokens that a thread takes at a time."""


class _Pieces:
    """Thread-safe iterator over the documents of all shards, about ``PIECE_TOKENS`` tokens at a time."""

    def __init__(self, paths: Sequence[str | Path], what: str):
        self._pieces = self._cut(paths)
        self._lock = threading.Lock()
        self._progress = Progress(what, None, "tokens")

    @staticmethod
    def _cut(paths: Sequence[str | Path]) -> Iterator[tuple[str | Path, NDArray[np.uint32], NDArray[np.int64]]]:
        for path in paths:
            for batch in read_shard(path):
                ids, offsets = batch.ids, batch.offsets
                first, last = 0, len(offsets) - 1
                while first < last:
                    end = int(np.searchsorted(offsets, offsets[first] + PIECE_TOKENS, side="right")) - 1
                    end = max(end, first + 1)
                    yield path, ids, offsets[first : end + 1]
                    first = end

    def __iter__(self) -> Iterator[tuple[str | Path, NDArray[np.uint32], NDArray[np.int64]]]:
        while True:
            with self._lock:
                piece = next(self._pieces, None)
                if piece is None:
                    return
                self._progress.advance(int(piece[2][-1] - piece[2][0]))
            yield piece

    def close(self) -> None:
        self._progress.close()


def count_tokens(paths: Sequence[str | Path], vocabulary_size: int, *, threads: int = 1) -> NDArray[np.int64]:
    """Count the occurrences of each token.

    Args:
        paths: shards of tokens.
        vocabulary_size: number of ids.
        threads: number of threads.

    Returns:
        int64 (vocabulary_size).

    Raises:
        ArtifactError: a shard is damaged or holds an id out of range.
    """
    pieces = _Pieces(paths, "tokens counted")

    def work() -> NDArray[np.int64]:
        counts = np.zeros(vocabulary_size, dtype=np.int64)
        for path, ids, offsets in pieces:
            piece = ids[offsets[0] : offsets[-1]]
            largest = int(piece.max(initial=0))  # checked before bincount, which would allocate up to it
            if largest >= vocabulary_size and len(piece):
                raise ArtifactError(
                    f"{path}: a token id beyond the vocabulary",
                    found=f"token {largest}",
                    expected=f"ids below {vocabulary_size}, the size of the tokenizer",
                    mend="tokenize the corpus with this tokenizer again",
                )
            counts += np.bincount(piece, minlength=vocabulary_size)
        return counts

    with ThreadPoolExecutor(threads) as pool:
        counts = sum(future.result() for future in [pool.submit(work) for _ in range(threads)])
    pieces.close()
    return counts


def kept_tokens(counts: NDArray[np.int64], min_count: int) -> NDArray[np.int32]:
    """Return the tokens that occur often enough, frequent ones first (ties: smaller id first).

    Args:
        counts: occurrences of each token, int64 (vocabulary_size).
        min_count: least number of occurrences; values below 1 count as 1.

    Returns:
        Token ids, int32.

    Raises:
        InputError: no token is frequent enough.
    """
    order = np.argsort(-counts, kind="stable")
    kept = order[counts[order] >= max(1, min_count)].astype(np.int32)
    if len(kept) == 0:
        raise InputError(
            f"no token occurs {min_count} times in the corpus",
            found=f"{counts.sum()} tokens, the most frequent {counts.max(initial=0)} times",
            mend="give more text or lower min_count",
        )
    return kept
