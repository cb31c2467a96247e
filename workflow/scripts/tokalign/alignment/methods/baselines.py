"""Baselines that any method has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokalign.alignment.align import Rows, Side
from tokalign.alignment.methods.vector_matching import ordinary_positions, positions_of, vectors_of


def align_at_random(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Give each open target token a uniformly drawn ordinary source token, with replacement.

    A draw depends only on the seed and the token's id, not on which other tokens are open.

    Args:
        target: side that gets rows.
        source: side whose rows are used.
        open_ids: target ids without a row.
        settings: ``seed``.

    Returns:
        Rows of category ``random`` for all open tokens.
    """
    ordinary = np.flatnonzero(source.vocabulary.ordinary)
    draws = np.random.Generator(np.random.PCG64(settings["seed"])).integers(len(ordinary), size=target.vocabulary.size)
    return Rows.single(open_ids, ordinary[draws[open_ids]], "random")


def align_by_permutation(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Give each open target token its own ordinary source token while there are enough.

    The order is a seeded permutation; another one follows when all are used, so the numbers of uses differ by at most 1.

    Args:
        target: side that gets rows.
        source: side whose rows are used.
        open_ids: target ids without a row.
        settings: ``seed``.

    Returns:
        Rows of category ``random`` for all open tokens.
    """
    ordinary = np.flatnonzero(source.vocabulary.ordinary)
    generator = np.random.Generator(np.random.PCG64(settings["seed"]))
    rounds = -(-len(open_ids) // len(ordinary))
    order = np.concatenate([np.empty(0, np.int64), *(generator.permutation(ordinary) for _ in range(rounds))])
    return Rows.single(open_ids, order[: len(open_ids)], "random")


def align_by_frequency(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Give each open target token a random source token of about the same frequency.

    Source tokens are sorted by their share of the corpus' tokens; one of the ``neighbors`` nearest to the rank of the target
    token's share is drawn. A draw depends only on the seed and the token's id.

    Args:
        target: side that gets rows; its vectors have the counts.
        source: side whose rows are used; its vectors have the counts.
        open_ids: target ids without a row.
        settings: ``frequency`` {``neighbors``} and ``seed``.

    Returns:
        Rows of category ``random`` for open tokens that have counts.
    """
    ours, theirs = vectors_of(target), vectors_of(source)
    at = positions_of(ours, target.vocabulary.size)[open_ids]
    ids, at = open_ids[at >= 0], at[at >= 0]
    candidates = ordinary_positions(source)
    shares = theirs.counts[candidates] / theirs.counts.sum()
    order = np.argsort(shares, kind="stable")
    wanted = ours.counts[at] / ours.counts.sum()
    places = sum(np.searchsorted(shares[order], wanted, side=side) for side in ("left", "right")) // 2
    width = min(settings["frequency"]["neighbors"], len(candidates))
    starts = np.clip(places - width // 2, 0, len(candidates) - width)
    draws = np.random.Generator(np.random.PCG64(settings["seed"])).integers(width, size=target.vocabulary.size)
    chosen = candidates[order[starts + draws[ids]]]
    return Rows.single(ids, theirs.token_ids[chosen].astype(np.int64), "random")


def fill_with_mean(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Fill all open tokens at initialization with the mean ordinary source row (category ``mean``)."""
    return Rows.filled(open_ids, "mean")


def fill_with_zero(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Fill all open tokens at initialization with zeros (category ``zero``).

    A baseline only: tokens with equal rows have equal logits.
    """
    return Rows.filled(open_ids, "zero")


def fill_with_normal(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Fill all open tokens at initialization with random rows (category ``normal``, ``fills.fill_block``)."""
    return Rows.filled(open_ids, "normal")
