"""TokAlign: tokens are compared by their relations to tokens shared by both vocabularies."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokalign.alignment.align import Rows, Side
from tokalign.alignment.methods.overlap import exact_pairs
from tokalign.alignment.methods.vector_matching import match_tokens, positions_of, vectors_of
from tokalign.alignment.search.similarity import normalize
from tokalign.common.errors import InputError

BLOCK_ROWS = 8192


def choose_pivots(target: Side, source: Side, number: int, choice: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose pivot pairs among tokens with the same bytes and vectors on both sides.

    Args:
        target: side that gets rows, with vectors.
        source: side whose rows are used, with vectors.
        number: number of pivots.
        choice: ``random`` (seeded) or ``frequency`` (those that are most frequent on their rarer side).
        seed: seed of the random choice.

    Returns:
        Positions of the pivots in the target's and in the source's vectors, int64.

    Raises:
        InputError: there are fewer common tokens with vectors than pivots wanted.
    """
    ours, theirs = vectors_of(target), vectors_of(source)
    ids_target, ids_source = exact_pairs(target.vocabulary, source.vocabulary)
    at_target, at_source = (
        positions_of(ours, target.vocabulary.size)[ids_target],
        positions_of(theirs, source.vocabulary.size)[ids_source],
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


def representations(vectors: np.ndarray, positions: np.ndarray, pivots: np.ndarray) -> np.ndarray:
    """Return relative representations of tokens: their cosines to the pivots, as unit rows.

    Args:
        vectors: vectors of all tokens, float32, shape (n, d).
        positions: positions of the tokens to represent, int64, shape (m,).
        pivots: positions of the pivots, int64, shape (p,).

    Returns:
        float32, shape (m, p); computed in blocks of ``BLOCK_ROWS`` to avoid a second copy.
    """
    unit_pivots = normalize(vectors[pivots])
    result = np.empty((len(positions), len(pivots)), np.float32)
    for start in range(0, len(positions), BLOCK_ROWS):
        part = positions[start : start + BLOCK_ROWS]
        result[start : start + BLOCK_ROWS] = normalize(normalize(vectors[part]) @ unit_pivots.T)
    return result


def align_by_relative_representation(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Match target tokens to source tokens by their cosines to shared pivot tokens.

    Relative representations (Moschella et al. 2023) as used by TokAlign (Li et al. 2025, section 3.2): a token is described by
    its cosines to the pivots in its own space, so that two separately trained spaces become comparable. Unlike the original,
    these descriptions are also normalized, so that a source token close to many pivots does not win every match; and special
    tokens are not candidates.

    Args:
        target: side that gets rows, with vectors.
        source: side whose rows are used, with vectors.
        open_ids: target ids without a row.
        settings: ``relative`` {``pivots``, ``pivot_choice``, and those of ``vector_matching.match_tokens``}, ``seed`` and ``threads``.

    Returns:
        Rows of category ``aligned``, as from ``vector_matching.match_tokens``.

    Raises:
        InputError: too few common tokens.
        ConfigurationError: settings that exclude each other.
    """
    chosen = settings["relative"]
    pivots = choose_pivots(target, source, chosen["pivots"], chosen["pivot_choice"], settings["seed"])
    spaces = dict(zip(("target", "source"), zip((target, source), pivots, strict=True), strict=True))

    def represent(positions: np.ndarray, name: str) -> np.ndarray:
        side, at = spaces[name]
        return representations(vectors_of(side).vectors, positions, at)

    return match_tokens(target, source, open_ids, represent, chosen, "relative", settings["threads"])
