"""TokAlign's vanilla mode: tokens are compared by their vectors themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokalign.alignment.align import Rows, Side
from tokalign.alignment.methods.vector_matching import match_tokens, vectors_of
from tokalign.alignment.search.similarity import normalize
from tokalign.common.errors import InputError


def check_dimensions(target: Side, source: Side, method: str) -> None:
    """Check that the vectors of both sides have the same number of dimensions.

    Raises:
        InputError: they do not.
    """
    ours, theirs = (vectors_of(side).vectors.shape[1] for side in (target, source))
    if ours != theirs:
        raise InputError(
            f"alignment by {method}: the vectors of the two tokenizers cannot be compared",
            found=f"{ours} dimensions in the target's, {theirs} in the source's",
            expected="the same number, and one space in which both were learned",
            mend="give both the same vectors block, or use 'relative'",
        )


def align_by_vectors(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Match target tokens to source tokens by the cosines of their vectors (TokAlign, ``cal_trans_matrix.py -v``).

    This makes sense for vectors of one space. Separately learned spaces differ by an unknown rotation, so for these it is only
    a baseline.

    Args:
        target: side that gets rows, with vectors.
        source: side whose rows are used, with vectors.
        open_ids: target ids without a row.
        settings: ``vanilla`` {those of ``vector_matching.match_tokens``} and ``threads``.

    Returns:
        Rows of category ``aligned``, as from ``vector_matching.match_tokens``.

    Raises:
        InputError: vectors of different numbers of dimensions.
        ConfigurationError: settings that exclude each other.
    """
    check_dimensions(target, source, "vanilla")
    sides = {"target": target, "source": source}

    def represent(positions: np.ndarray, name: str) -> np.ndarray:
        return normalize(vectors_of(sides[name]).vectors[positions])

    return match_tokens(target, source, open_ids, represent, settings["vanilla"], "vanilla", settings["threads"])
