"""Texts cut into segments short enough for a sentence embedder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CHARACTERS_PER_WORD = 8
"""A segment limit of n words is also a limit of this times n characters, which bounds text without spaces."""


def segments(text: str, words: int) -> Iterator[str]:
    """Yield the segments of a text: its lines, with longer lines cut after every ``words`` words.

    Words are separated by white space. A segment also ends before the word that would exceed ``CHARACTERS_PER_WORD`` x
    ``words`` characters (Chinese, or a table); a single word with more characters is cut inside.

    Args:
        text: any text.
        words: most words of a segment, at least 1.

    Yields:
        Segments of the text in order, stripped, none empty.
    """
    limit = CHARACTERS_PER_WORD * words
    for line in text.splitlines():
        pieces = [word[i : i + limit] for word in line.split() for i in range(0, len(word), limit)]
        taken: list[str] = []
        size = 0
        for piece in pieces:
            if taken and (len(taken) == words or size + len(piece) + 1 > limit):
                yield " ".join(taken)
                taken, size = [], 0
            taken.append(piece)
            size += len(piece) + (len(taken) > 1)
        if taken:
            yield " ".join(taken)


def sample_segments(texts: list[str], words: int, most: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Return segments of documents, drawn without replacement if there are more than ``most``.

    Args:
        texts: the documents.
        words: as in :func:`segments`.
        most: most segments.
        seed: seed of the draw.

    Returns:
        The segments in the order of the text, and the index of each one's document, int64.
    """
    pairs = [(piece, number) for number, text in enumerate(texts) for piece in segments(text, words)]
    if len(pairs) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(pairs), most, replace=False))
        pairs = [pairs[i] for i in chosen]
    return [piece for piece, _ in pairs], np.array([number for _, number in pairs], dtype=np.int64)
