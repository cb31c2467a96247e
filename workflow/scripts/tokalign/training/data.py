"""The data of a stage: blocks in training order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from tokalign.tokens.packing import PackedBlocks
from tokalign.training.heldout import HeldoutText
from tokalign.training.losses import chunked


@dataclass(frozen=True)
class StageData:
    """The text on which a stage is trained and measured.

    Attributes:
        blocks: blocks of the corpus.
        mixed: blocks of the corpus that is mixed in, or ``None``.
        used: sequences of both corpora that earlier stages used.
        eos: id of the token that ends documents in the blocks.
        bytes_per_token: bytes per token of the blocks.
        heldout: text to measure on, or ``None``.
    """

    blocks: PackedBlocks
    mixed: PackedBlocks | None
    used: tuple[int, int]
    eos: int
    bytes_per_token: float
    heldout: HeldoutText | None


class ScheduledBlocks(Dataset):
    """The sequences of one stage, in training order.

    Args:
        sources: blocks of the corpus and of the corpus that is mixed in.
        order: int64, shape (sequences, 2): source and block.
        separator: id of the token that ends documents, if attention and positions restart after it; else ``None``.
    """

    def __init__(self, sources: list[PackedBlocks], order: np.ndarray, separator: int | None):
        """Store the blocks and their order."""
        self.sources, self.order, self.separator = sources, order, separator

    def __len__(self) -> int:
        """Return the number of sequences of the stage."""
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return input ids and labels (the same; the loss shifts them), int64, shape (block,).

        With a separator there are also position ids, which restart with each document, and the first token of a document has no
        label, as the text before it is another document.
        """
        source, block = self.order[index]
        ids = torch.from_numpy(self.sources[source][int(block)])
        if self.separator is None:
            return {"input_ids": ids, "labels": ids}
        places = torch.arange(len(ids))
        first = torch.zeros(len(ids), dtype=torch.bool)
        first[1:] = ids[:-1] == self.separator
        begin = torch.cummax(torch.where(first, places, 0), dim=0).values
        return {"input_ids": ids, "labels": ids.masked_fill(first, chunked.IGNORED), "position_ids": places - begin}
