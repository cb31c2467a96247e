"""Words as they occur in text, and the tokens that they are made of, without the text: from token ids and canonical bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ONE = np.zeros(256, dtype=bool)
_ONE[[*range(0x09, 0x0E), *range(0x1C, 0x21)]] = True
_TWO = np.array([0xC285, 0xC2A0])
_THREE = np.array(
    [int.from_bytes(chr(c).encode()) for c in (0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)]
)
"""White space as ``str.split`` has it, by the length of its UTF-8."""


def white_space(data: np.ndarray) -> np.ndarray:
    """Say which bytes of UTF-8 belong to white space, as ``str.isspace`` has it; uint8 to bool, same shape (n,)."""
    space = _ONE[data]
    for lead, length, known in (((0xC2,), 2, _TWO), ((0xE1, 0xE2, 0xE3), 3, _THREE)):
        at = np.flatnonzero(np.isin(data, lead))
        at = at[at + length <= len(data)]
        code = np.zeros(len(at), dtype=np.int64)
        for i in range(length):
            code = code << 8 | data[at + i]
        at = at[np.isin(code, known)]
        for i in range(length):
            space[at + i] = True
    return space


@dataclass(frozen=True)
class TokenBytes:
    """The canonical bytes of a vocabulary, one token behind the other.

    Attributes:
        data: uint8.
        starts: where each token begins, int64, shape (ids,).
        lengths: bytes of each token, int64, shape (ids,).
    """

    data: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, token_bytes: Sequence[bytes]) -> TokenBytes:
        """Put the bytes of tokens together."""
        lengths = np.array([len(token) for token in token_bytes], dtype=np.int64)
        return cls(np.frombuffer(b"".join(token_bytes), dtype=np.uint8), np.cumsum(lengths) - lengths, lengths)


@dataclass(frozen=True)
class WordCounts:
    """Words of each document; int64, shape (documents,).

    Attributes:
        words: what white space separates in the bytes of the tokens.
        continued: of these, such that a token ends within them.
        single: such that one token holds all of them, and besides them nothing but white space.
    """

    words: np.ndarray
    continued: np.ndarray
    single: np.ndarray


def count_words(ids: np.ndarray, offsets: np.ndarray, tokens: TokenBytes) -> WordCounts:
    """Count the words of documents by how many tokens they are made of, in the context that they stand in.

    White space before or behind a word does not count, be it in a token of the word (`` the`` is the word ``the``) or in one of
    its own. Punctuation without white space is part of its word: ``the,`` is continued where the comma is a token of its own. A word that one token holds
    together with parts of other words is neither continued nor single. A token of no bytes cuts nothing.

    Args:
        ids: token ids of all documents, one behind the other.
        offsets: where each document begins in ``ids``, and the end of the last, shape (documents + 1,).
        tokens: canonical bytes of the vocabulary.
    """
    lengths = tokens.lengths[ids]
    ends = np.cumsum(lengths)
    size = int(ends[-1]) if len(ends) else 0
    data = tokens.data[np.repeat(tokens.starts[ids] - (ends - lengths), lengths) + np.arange(size)]
    inside = ~white_space(data)
    documents = np.concatenate([[0], ends])[offsets]
    edge = np.zeros(size + 1, dtype=bool)
    edge[documents] = edge[size] = True
    begin = np.flatnonzero(inside & (edge[:-1] | ~np.concatenate([[False], inside[:-1]])))
    end = np.flatnonzero(inside & (edge[1:] | ~np.concatenate([inside[1:], [False]]))) + 1
    boundary = np.zeros(size + 1, dtype=np.int64)
    boundary[ends] = 1
    boundary = np.cumsum(boundary)
    continued = boundary[end - 1] > boundary[begin]
    first = np.searchsorted(ends, begin, side="right")
    before = np.concatenate([[0], np.cumsum(inside)])
    single = ~continued & (before[ends[first]] - before[ends[first] - lengths[first]] == end - begin)
    owner = np.searchsorted(documents[:-1], begin, side="right") - 1

    def per_document(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(owner[chosen], minlength=len(offsets) - 1)

    return WordCounts(per_document(np.ones(len(begin), dtype=bool)), per_document(continued), per_document(single))
