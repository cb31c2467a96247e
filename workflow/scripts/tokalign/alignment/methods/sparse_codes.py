"""Sparse codes: a token's relative representation as a combination of a few of the source's."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokalign.alignment.align import Rows, Side
from tokalign.alignment.methods.relative import choose_pivots, representations
from tokalign.alignment.methods.vector_matching import ordinary_positions, positions_of, vectors_of
from tokalign.alignment.search.pursuit import sparse_codes

LEAST_SUM = 0.1
"""Weights with a smaller sum are not rescaled to sum to 1: the row would be mostly what they cancel."""


def align_by_sparse_codes(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Give open tokens weights of source tokens found by orthogonal matching pursuit.

    Tokens are represented by their cosines to the pivots, as in ``relative``; the dictionary is all ordinary source tokens
    with a vector (``pursuit.sparse_codes``). The new row is the same combination of embedding rows.

    Args:
        target: side that gets rows, with vectors.
        source: side whose rows are used, with vectors.
        open_ids: target ids without a row.
        settings: ``sparse_codes`` {``pivots``, ``pivot_choice``, ``nonzeros``, ``tolerance``, ``nonnegative``, ``sum_to_one``,
            ``min_cosine``}, ``seed`` and ``threads``.

    Returns:
        Rows of category ``aligned`` for open tokens that have a vector; the score is the cosine between the token's
        representation and the combination. Tokens with a score below ``min_cosine`` are left out and, with
        ``sum_to_one``, tokens with a sum of weights below ``LEAST_SUM``.

    Raises:
        InputError: too few common tokens.
    """
    chosen = settings["sparse_codes"]
    pivots_target, pivots_source = choose_pivots(
        target, source, chosen["pivots"], chosen["pivot_choice"], settings["seed"]
    )  # fmt: skip
    ours, theirs = vectors_of(target), vectors_of(source)
    at = positions_of(ours, target.vocabulary.size)[open_ids]
    ids, at = open_ids[at >= 0], at[at >= 0]
    candidates = ordinary_positions(source)
    queries = representations(ours.vectors, at, pivots_target)
    keys = representations(theirs.vectors, candidates, pivots_source)
    where, weights, left = sparse_codes(
        queries, keys, chosen["nonzeros"], chosen["tolerance"], chosen["nonnegative"], settings["threads"]
    )
    # The residual is orthogonal to the combination c (with weights >= 0 as well), so 1 = |c|^2 + |left|^2 and the cosine is |c|.
    cosines = np.sqrt(np.clip(1 - left**2, 0, 1)).astype(np.float32)
    used = (where >= 0) & (weights != 0)
    good = used.any(axis=1) & (cosines >= chosen["min_cosine"])
    if chosen["sum_to_one"]:
        sums = weights.sum(axis=1)
        good &= sums >= LEAST_SUM
        weights = weights / np.where(good, sums, 1)[:, None]
    used &= good[:, None]
    return Rows(
        ids=ids[good],
        indptr=np.concatenate([[0], np.cumsum(used[good].sum(axis=1))]).astype(np.int64),
        sources=theirs.token_ids[candidates[where[used]]].astype(np.int64),
        weights=weights[used].astype(np.float32),
        category="aligned",
        scores=cosines[good],
    )
