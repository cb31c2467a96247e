"""The order of a stage's sequences, and which come from a second corpus."""

from __future__ import annotations

import numpy as np

from tokalign.config.stages import mixed_in


def data_order(blocks: int, start: int, count: int, seed: int) -> np.ndarray:
    """Return the blocks that are sequences ``start`` ... ``start + count - 1`` of a training.

    A training runs through a seeded permutation of all blocks; each pass through the data (epoch) has a new one.

    Args:
        blocks: number of blocks.
        start: sequences that earlier stages used.
        count: sequences of this stage.
        seed: seed of the permutations.

    Returns:
        Block numbers, int64, shape (count,).
    """
    parts = []
    position = start
    while position < start + count:
        epoch, offset = divmod(position, blocks)
        order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(blocks)
        parts.append(order[offset : offset + start + count - position])
        position += len(parts[-1])
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def mixed_order(blocks: int, mixed: int, share: float | None, used: tuple[int, int], count: int, seed: int) -> np.ndarray:
    """Return the blocks of a stage in training order, with a share of a second corpus mixed in.

    Args:
        blocks: number of blocks of the corpus.
        mixed: number of blocks of the corpus that is mixed in.
        share: share of sequences from that corpus; ``None`` for none.
        used: sequences of both corpora that earlier stages used.
        count: sequences of this stage.
        seed: seed of the permutations; each corpus has its own.

    Returns:
        int64, shape (count, 2): the corpus (0 or 1), and the block number.
    """
    positions = np.array([mixed_in(n, share) for n in range(count + 1)]) if share else np.zeros(count + 1, dtype=np.int64)
    second = np.diff(positions) > 0
    order = np.zeros((count, 2), dtype=np.int64)
    order[:, 0] = second
    order[~second, 1] = data_order(blocks, used[0], int((~second).sum()), seed)
    if share:
        order[second, 1] = data_order(mixed, used[1], int(second.sum()), seed)
    return order
