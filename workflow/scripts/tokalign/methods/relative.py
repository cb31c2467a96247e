"""TokAlign: tokens are compared by their relations to tokens that both vocabularies have."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from tokalign.alignment import Rows, Side
from tokalign.errors import InputError
from tokalign.methods.overlap import exact_pairs
from tokalign.progress import Progress
from tokalign.vectors import Vectors

log = logging.getLogger(__name__)

BLOCK_BYTES = 256 * 2**20
"""Size of a block of similarities; the whole matrix |V_target| x |V_source| never exists."""


def normalise(rows: np.ndarray) -> np.ndarray:
    """Return rows scaled to length 1, float32; a zero row stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows, dtype=np.float32), where=lengths > 0, dtype=np.float32)


def choose_pivots(target: Side, source: Side, number: int, choice: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose pivot pairs among the tokens that have the same bytes and a vector on both sides.

    Args:
        target: with vectors.
        source: with vectors.
        number: of pivots wanted.
        choice: ``random`` (seeded) or ``frequency`` (those that are most frequent on their rarer side).
        seed: of the random choice.

    Returns:
        Positions of the pivots in the target's and in the source's vectors, int64.

    Raises:
        InputError: there are fewer common tokens with vectors than pivots wanted.
    """
    ours, theirs = _vectors(target), _vectors(source)
    ids_target, ids_source = exact_pairs(target.vocabulary, source.vocabulary)
    at_target, at_source = (
        _positions(ours, target.vocabulary.size)[ids_target],
        _positions(theirs, source.vocabulary.size)[ids_source],
    )
    both = (at_target >= 0) & (at_source >= 0)
    at_target, at_source = at_target[both], at_source[both]
    if len(at_target) < number:
        raise InputError(
            "alignment by relative representation: too few pivots",
            found=f"{len(at_target)} tokens have the same bytes and a vector on both sides",
            expected=f"at least the {number} of `pivots`",
            mend="lower `pivots`, give a larger corpus, or lower `min_count` of the vectors",
        )
    if choice == "frequency":
        rarer = np.minimum(ours.counts[at_target] / ours.counts.sum(), theirs.counts[at_source] / theirs.counts.sum())
        chosen = np.argsort(-rarer, kind="stable")[:number]
    else:
        chosen = np.random.Generator(np.random.PCG64(seed)).choice(len(at_target), size=number, replace=False)
    chosen = np.sort(chosen)
    return at_target[chosen], at_source[chosen]


def _vectors(side: Side) -> Vectors:
    if side.vectors is None:
        raise ValueError("this method needs the vectors of both sides")
    return side.vectors


def _positions(vectors: Vectors, size: int) -> np.ndarray:
    """Return for each id the position of its vector, -1 where it has none."""
    positions = np.full(size, -1, dtype=np.int64)
    positions[vectors.token_ids] = np.arange(len(vectors.token_ids))
    return positions


def best_matches(queries: np.ndarray, keys: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``top_k`` keys of greatest dot product for each query, in blocks of bounded memory.

    Args:
        queries: float32, shape (n, d).
        keys: float32, shape (m, d).
        top_k: at most m.

    Returns:
        Positions int64 and products float32, both (n, top_k), best first; equal products in the order of the keys.
    """
    rows = max(1, BLOCK_BYTES // (4 * len(keys)))
    where = np.empty((len(queries), top_k), dtype=np.int64)
    products = np.empty((len(queries), top_k), dtype=np.float32)
    progress = Progress("comparing", len(queries), "tokens")
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows] @ keys.T
        if top_k == 1:
            best = block.argmax(axis=1)[:, None]
        else:
            best = np.sort(np.argpartition(-block, top_k - 1, axis=1)[:, :top_k], axis=1)
        values = np.take_along_axis(block, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        where[start : start + rows] = np.take_along_axis(best, order, axis=1)
        products[start : start + rows] = np.take_along_axis(values, order, axis=1)
        progress.advance(len(block))
    progress.close()
    return where, products


def align_by_relative_representation(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Match target tokens to source tokens by their cosines to shared pivot tokens.

    Relative representations (Moschella et al. 2023) as used by TokAlign (Li et al. 2025, section 3.2): a token is described by
    its cosines to the pivots in its own space, so that two separately trained spaces become comparable. Unlike the original,
    these descriptions are normalised too, so that a source token close to many pivots does not win every match; and special
    tokens are no candidates.

    Args:
        target: side that gets rows, with vectors.
        source: side whose rows are used, with vectors.
        open_ids: target ids without a row.
        settings: ``relative`` {``pivots``, ``pivot_choice``, ``top_k``, ``temperature``, ``min_cosine``} and ``seed``.

    Returns:
        Rows of category ``aligned`` for open tokens that have a vector; ``top_k`` weights each, a softmax over their cosines.

    Raises:
        InputError: too few common tokens.
    """
    chosen = settings["relative"]
    ours, theirs = _vectors(target), _vectors(source)
    pivots_target, pivots_source = choose_pivots(target, source, chosen["pivots"], chosen["pivot_choice"], settings["seed"])
    positions = _positions(ours, target.vocabulary.size)[open_ids]
    ids, positions = open_ids[positions >= 0], positions[positions >= 0]
    ordinary = np.flatnonzero([source.vocabulary.kinds[i] in ("text", "byte") for i in theirs.token_ids.tolist()])
    unit_target, unit_source = normalise(ours.vectors), normalise(theirs.vectors)
    queries = normalise(unit_target[positions] @ unit_target[pivots_target].T)
    keys = normalise(unit_source[ordinary] @ unit_source[pivots_source].T)
    top_k = min(chosen["top_k"], len(ordinary))
    where, cosines = best_matches(queries, keys, top_k)
    good = cosines[:, 0] >= chosen["min_cosine"]
    ids, where, cosines = ids[good], where[good], cosines[good]
    weights = np.exp((cosines - cosines[:, :1]) / np.float32(chosen["temperature"]))
    weights /= weights.sum(axis=1, keepdims=True)
    return Rows(
        ids=ids,
        indptr=np.arange(0, (len(ids) + 1) * top_k, top_k, dtype=np.int64)[: len(ids) + 1],
        sources=theirs.token_ids[ordinary[where]].ravel().astype(np.int64),
        weights=weights.ravel().astype(np.float32),
        category="aligned",
        scores=cosines[:, 0],
    )
