"""Shared by methods that compare vectors: candidates, hubness correction, matching, weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from tokalign.alignment.align import Rows, Side
from tokalign.alignment.search.similarity import best_matches, neighbor_means
from tokalign.alignment.search.stable_matching import match_one_to_one
from tokalign.common.errors import ConfigurationError
from tokalign.vectors.vectors import Vectors

log = logging.getLogger(__name__)

Represent = Callable[[np.ndarray, str], np.ndarray]
"""A function (positions of vectors, int64; ``target`` or ``source``) -> unit rows that represent them, float32."""


def vectors_of(side: Side) -> Vectors:
    """Return the vectors of a side.

    Raises:
        ValueError: the side was read without vectors.
    """
    if side.vectors is None:
        raise ValueError("this method needs the vectors of both sides")
    return side.vectors


def positions_of(vectors: Vectors, size: int) -> np.ndarray:
    """Return the position of each id's vector, -1 for none, int64, shape (size,)."""
    positions = np.full(size, -1, dtype=np.int64)
    positions[vectors.token_ids] = np.arange(len(vectors.token_ids))
    return positions


def ordinary_positions(side: Side) -> np.ndarray:
    """Return the positions of the vectors of ordinary tokens, int64."""
    return np.flatnonzero(side.vocabulary.ordinary[vectors_of(side).token_ids])


def match_tokens(
    target: Side, source: Side, open_ids: np.ndarray, represent: Represent, chosen: dict[str, Any], place: str, threads: int
) -> Rows:
    """Give open tokens their most similar ordinary source tokens.

    The similarity is the cosine, or with ``hubness: csls`` the cosine minus half of each token's mean cosine to its nearest
    neighbors on the other side (CSLS of Conneau et al. 2018, equation 3, halved, so that it is on the scale of a cosine): a
    source token that is close to everything no longer wins every match. Neighborhoods are among all ordinary tokens with a
    vector, so a token's match does not depend on which tokens are open.

    ``mutual`` keeps a match only if the target token is also the most similar one to its source token, among all ordinary
    target tokens and the open ones. ``one_to_one`` gives each source token to at most one open token
    (``stable_matching.match_one_to_one``).

    Args:
        target: side that gets rows, with vectors.
        source: side whose rows are used, with vectors.
        open_ids: target ids without a row.
        represent: how vectors are compared.
        chosen: ``top_k``, ``temperature``, ``min_cosine``, ``hubness``, ``neighbors``, ``mutual``, ``one_to_one``.
        place: the key of these settings, for errors.
        threads: number of threads; the result does not depend on it.

    Returns:
        Rows of category ``aligned`` for open tokens that have a vector and a match; ``top_k`` weights each, a softmax over the
        similarities. The scores are cosines.

    Raises:
        ConfigurationError: ``one_to_one`` with several source tokens per target token.
    """
    if chosen["one_to_one"] and chosen["top_k"] > 1:
        raise ConfigurationError(
            f"{place}.top_k: one source token per target token if matches are one to one",
            found=chosen["top_k"],
            expected="1",
            mend="set `top_k: 1`, or `one_to_one: false`",
        )
    ours, theirs = vectors_of(target), vectors_of(source)
    at = positions_of(ours, target.vocabulary.size)[open_ids]
    ids, at = open_ids[at >= 0], at[at >= 0]
    candidates = ordinary_positions(source)
    all_needed = chosen["mutual"] or chosen["hubness"] == "csls"
    compared = np.union1d(ordinary_positions(target), at) if all_needed else at
    rows = np.searchsorted(compared, at) if all_needed else np.arange(len(at))
    queries, keys = represent(compared, "target"), represent(candidates, "source")
    query_offsets, key_offsets = np.zeros(len(queries), np.float32), np.zeros(len(keys), np.float32)
    if chosen["hubness"] == "csls":
        log.info("nearest neighbors of both sides")
        query_offsets = neighbor_means(queries, keys, chosen["neighbors"], threads) / 2
        key_offsets = neighbor_means(keys, queries, chosen["neighbors"], threads) / 2
    offsets = {"query_offsets": query_offsets, "key_offsets": key_offsets}
    if chosen["one_to_one"] and not chosen["mutual"]:
        order = np.argsort(rows)  # ties go to the token that comes first in the vectors
        best, values = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
        best[order], values[order] = match_one_to_one(queries, keys, threads, rows=rows[order], **offsets)
        where, values = best[:, None], values[:, None]
    else:
        top_k = min(chosen["top_k"], len(candidates))
        where, values = best_matches(queries, keys, top_k, threads, rows=rows, **offsets)
    good = where[:, 0] >= 0
    if chosen["mutual"] and len(rows):
        wanted, inverse = np.unique(where[:, 0], return_inverse=True)
        back, _ = best_matches(
            keys, queries, 1, threads, rows=wanted, query_offsets=key_offsets, key_offsets=query_offsets
        )  # fmt: skip
        good = back[inverse, 0] == rows
    cosines = (values[:, 0] + query_offsets[rows] + key_offsets[where[:, 0]]).astype(np.float32)
    good &= cosines >= chosen["min_cosine"]
    ids, where, values, cosines = ids[good], where[good], values[good], cosines[good]
    weights = np.exp((values - values[:, :1]) / np.float32(chosen["temperature"]))
    weights /= weights.sum(axis=1, keepdims=True)
    return Rows(
        ids=ids,
        indptr=np.arange(len(ids) + 1, dtype=np.int64) * where.shape[1],
        sources=theirs.token_ids[candidates[where]].ravel().astype(np.int64),
        weights=weights.ravel().astype(np.float32),
        category="aligned",
        scores=cosines,
    )
