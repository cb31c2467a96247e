"""Windows over token sequences that score every token once, and their batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tokalign.models.scoring import Scorer, by_length


@dataclass(frozen=True)
class Window:
    """A part of a document's tokens that the model reads at once.

    Attributes:
        document: index of the document.
        begin: index of the first token that is read.
        end: index after the last token that is read; token ``end`` itself is the last one predicted.
        first: index of the first token that is scored here, at least ``begin + 1``.
    """

    document: int
    begin: int
    end: int
    first: int


def windows(document: int, length: int, window: int, stride: int) -> Iterator[Window]:
    """Yield windows that together score the tokens 1 ... length - 1 of a sequence, each once.

    Args:
        document: document index of the windows.
        length: tokens of the sequence, the start token included.
        window: most tokens read at once.
        stride: tokens between the beginnings of two windows, at most ``window``.
    """
    begin, first = 0, 1
    while first < length:
        end = min(begin + window, length - 1)
        yield Window(document, begin, end, first)
        begin, first = begin + stride, end + 1


def batches(parts: list[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Group windows of similar length, longest first; rows x longest row is at most ``batch_tokens`` (see ``by_length``)."""
    for batch in by_length([part.end - part.begin for part in parts], most_tokens=batch_tokens):
        yield [parts[index] for index in batch]


def score_batch(scorer: Scorer, sequences: list[np.ndarray], batch: list[Window]) -> np.ndarray:
    """Return the negative log-likelihood of the scored tokens of each window.

    Args:
        scorer: scorer of a causal language model.
        sequences: token ids per document, int64.
        batch: windows.

    Returns:
        Nats, float64, shape (windows,); not finite if the model's output is not.
    """
    rows = np.concatenate([np.full(part.end - part.first + 1, row) for row, part in enumerate(batch)])
    positions = np.concatenate([np.arange(part.first, part.end + 1) - part.begin for part in batch])
    nats, _ = scorer([sequences[part.document][part.begin : part.end + 1] for part in batch], rows, positions)
    return np.bincount(rows, weights=nats, minlength=len(batch))
