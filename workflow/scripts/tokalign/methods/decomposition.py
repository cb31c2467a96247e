"""Decomposition: a token is the mean of the pieces into which the source tokenizer cuts its text (FVT, Gee et al. 2022)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokalign.alignment import Rows, Side
from tokalign.methods.overlap import ids_by_bytes


def longest_pieces(data: bytes, known: dict[bytes, int], longest: int) -> list[int] | None:
    """Cut bytes into known tokens, the longest that fits first; ``None`` if some byte is in no token."""
    pieces, start = [], 0
    while start < len(data):
        for end in range(min(len(data), start + longest), start, -1):
            if data[start:end] in known:
                pieces.append(known[data[start:end]])
                start = end
                break
        else:
            return None
    return pieces


def align_by_decomposition(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Give each piece of a target token's text under the source tokenizer the same weight.

    The source tokenizer's own segmentation is used where it gives the token's bytes back; where it cannot (a token that is
    part of a character, a tokenizer that adds a space in front) the bytes are cut into the longest known tokens.

    Args:
        target: side that gets rows.
        source: side whose rows are used, with its tokenizer.
        open_ids: target ids without a row.
        settings: not read.

    Returns:
        Rows of category ``decomposed`` for all open tokens that have bytes; 1/n at each of n pieces.
    """
    ours, theirs = target.vocabulary, source.vocabulary
    known = ids_by_bytes(theirs)
    longest = max(map(len, known), default=0)
    ids = [i for i in open_ids.tolist() if ours.token_bytes[i]]
    texts = [ours.token_bytes[i].decode("utf-8", "replace") for i in ids]
    encodings = source.tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    found, indptr, pieces_of = [], [0], []
    for i, encoding in zip(ids, encodings, strict=True):
        pieces: list[int] | None = encoding.ids
        if b"".join(theirs.token_bytes[piece] for piece in encoding.ids) != ours.token_bytes[i]:
            pieces = longest_pieces(ours.token_bytes[i], known, longest)
        if pieces:
            found.append(i)
            pieces_of += pieces
            indptr.append(len(pieces_of))
    lengths = np.diff(indptr)
    weights = np.repeat(1.0 / np.maximum(lengths, 1), lengths).astype(np.float32)
    return Rows(
        ids=np.array(found, np.int64),
        indptr=np.array(indptr, np.int64),
        sources=np.array(pieces_of, np.int64),
        weights=weights,
        category="decomposed",
        scores=np.full(len(found), np.nan, np.float32),
    )
