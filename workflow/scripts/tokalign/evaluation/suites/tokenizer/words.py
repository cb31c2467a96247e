"""Words in running text and their tokens, counted from token ids and canonical bytes, without the text."""

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
"""White space as in ``str.split``, by the length of its UTF-8."""


def white_space(data: np.ndarray) -> np.ndarray:
    """Return which UTF-8 bytes belong to white space, as in ``str.isspace``; uint8 to bool, same shape (n,)."""
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
    """The canonical bytes of a vocabulary, concatenated.

    Attributes:
        data: bytes of all tokens, uint8.
        starts: where each token begins, int64, shape (ids,).
        lengths: bytes of each token, int64, shape (ids,).
    """

    data: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, token_bytes: Sequence[bytes]) -> TokenBytes:
        """Concatenate the bytes of tokens."""
        lengths = np.array([len(token) for token in token_bytes], dtype=np.int64)
        return cls(np.frombuffer(b"".join(token_bytes), dtype=np.uint8), np.cumsum(lengths) - lengths, lengths)


@dataclass(frozen=True)
class WordCounts:
    """Word counts of each document; int64, shape (documents,).

    Attributes:
        words: words separated by white space in the bytes of the tokens.
        continued: words with a token boundary inside.
        single: words that one token holds whole, with nothing else but white space.
    """

    words: np.ndarray
    continued: np.ndarray
    single: np.ndarray


def count_words(ids: np.ndarray, offsets: np.ndarray, tokens: TokenBytes) -> WordCounts:
    """Count the words of documents by whether they span several tokens, in context.

    White space around a word does not count, whether in a token of the word (`` the`` is the word ``the``) or in a separate
    token. Punctuation without white space is part of its word: ``the,`` is continued if the comma is a separate token. A word
    in one token with parts of other words is neither continued nor single. A token without bytes is no boundary.

    Args:
        ids: token ids of all documents, concatenated.
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
