"""Decomposition: a token is the mean of its source tokens (FVT, Gee et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tokalign.alignment.align import Rows, Side
from tokalign.alignment.methods.overlap import ids_by_bytes
from tokalign.tokenizers.vocabulary import Vocabulary


def longest_pieces(data: bytes, known: dict[bytes, int], longest: int) -> list[int] | None:
    """Split bytes into known tokens, longest match first; ``None`` if nothing matches somewhere."""
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


def pieces_of(target: Vocabulary, source: Side, ids: Sequence[int]) -> list[list[int]]:
    """Split target tokens into source tokens.

    The source tokenizer's segmentation is used if it reproduces the token's bytes; otherwise (a token that is part of a
    character, a tokenizer that adds a leading space) the bytes are split into the longest known tokens.

    Args:
        target: canonical bytes of the tokens.
        source: vocabulary and tokenizer.
        ids: target ids that have bytes.

    Returns:
        Source ids of each token's pieces in order; none if neither way works.
    """
    theirs = source.vocabulary
    known = ids_by_bytes(theirs)
    longest = max(map(len, known), default=0)
    texts = [target.token_bytes[i].decode("utf-8", "replace") for i in ids]
    encodings = source.tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    found: list[list[int]] = []
    for i, encoding in zip(ids, encodings, strict=True):
        data = target.token_bytes[i]
        same = b"".join(theirs.token_bytes[piece] for piece in encoding.ids) == data
        found.append(encoding.ids if same else longest_pieces(data, known, longest) or [])
    return found


def place_weights(lengths: np.ndarray, kind: str) -> np.ndarray:
    """Return the weights of pieces by their position in the token.

    Args:
        lengths: number of pieces of each token, int64 (n,).
        kind: ``mean`` (all equal), ``later`` (each twice the one before), ``last`` or ``first`` (that one alone).

    Returns:
        float32, one per piece, token by token; they sum to 1 per token.
    """
    ends = np.repeat(np.cumsum(lengths), lengths)
    place = np.arange(lengths.sum())
    from_end = (ends - 1 - place).astype(np.float64)
    size = np.repeat(lengths, lengths)
    raw = {
        "mean": np.ones(len(place)),
        "later": 0.5**from_end,
        "last": (from_end == 0).astype(np.float64),
        "first": (from_end == size - 1).astype(np.float64),
    }[kind]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return (raw / np.bincount(owner, weights=raw, minlength=len(lengths))[owner]).astype(np.float32)


def align_by_decomposition(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Decompose open target tokens into weighted source tokens (see ``pieces_of``).

    Args:
        target: side that gets rows.
        source: side whose rows are used, with its tokenizer.
        open_ids: target ids without a row.
        settings: ``decomposed`` (optional): kind of ``place_weights`` for ``input`` and ``output``.

    Returns:
        Rows of category ``decomposed`` for all open tokens that have bytes; by default 1/n at each of n pieces.
    """
    ids = [i for i in open_ids.tolist() if target.vocabulary.token_bytes[i]]
    cut = [(i, pieces) for i, pieces in zip(ids, pieces_of(target.vocabulary, source, ids), strict=True) if pieces]
    lengths = np.array([len(pieces) for _, pieces in cut], np.int64)
    by_place = settings.get("decomposed") or {"input": "mean", "output": "mean"}
    weights, of_head = (place_weights(lengths, by_place[matrix]) for matrix in ("input", "output"))
    return Rows(
        ids=np.array([i for i, _ in cut], np.int64),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        sources=np.array([piece for _, pieces in cut for piece in pieces], np.int64),
        weights=weights,
        category="decomposed",
        scores=np.full(len(cut), np.nan, np.float32),
        output_weights=None if by_place["input"] == by_place["output"] else of_head,
    )
