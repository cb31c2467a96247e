"""The table of an alignment (tokens.parquet): how the row of each target token was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tokalign.common.errors import ArtifactError
from tokalign.tokenizers.vocabulary import read_rows


@dataclass(frozen=True)
class Tokens:
    """The rows of ``tokens.parquet``, in order of target id.

    Attributes:
        category: how each target token was found, str objects, shape (targets,).
        score: cosine of aligned tokens, float64, NaN elsewhere, shape (targets,).
        sources: concatenated source ids of all target tokens, int64, shape (entries,).
        weights: their weights, float64, shape (entries,).
        offsets: int64, shape (targets + 1,); target token i has the entries offsets[i] to offsets[i + 1].
    """

    category: np.ndarray
    score: np.ndarray
    sources: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray


def read_tokens(path: str | Path) -> Tokens:
    """Read ``tokens.parquet``.

    Raises:
        ArtifactError: missing, or not as described in :class:`Tokens`.
    """
    table = read_rows(path, ("id", "category", "score", "sources", "weights"))
    lists = [table[name].to_pylist() for name in ("sources", "weights")]
    sources, weights = ([row or [] for row in rows] for rows in lists)
    lengths = [len(row) for row in sources]
    if lengths != [len(row) for row in weights]:
        raise ArtifactError(f"{path}: sources and weights differ in length", mend="align again")
    return Tokens(
        category=np.array(table["category"].to_pylist(), dtype=object),
        score=np.array([np.nan if s is None else s for s in table["score"].to_pylist()], dtype=np.float64),
        sources=np.array([i for row in sources for i in row], dtype=np.int64),
        weights=np.array([w for row in weights for w in row], dtype=np.float64),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


TWINS = ("special", "exact")
"""Categories of rows that copy the row of the same source token, by role or by bytes."""


def read_categories(path: str | Path) -> NDArray[np.str_]:
    """Read how each row of an alignment was found.

    Args:
        path: ``tokens.parquet`` of the alignment.

    Returns:
        One of ``categories.CATEGORIES`` for each target id, shape (|V_target|,).

    Raises:
        ArtifactError: the file is missing or does not have one row per target id.
    """
    return np.array(read_rows(path, ("id", "category"))["category"].to_pylist(), dtype=str)


NO_SOURCE = -1


def best_sources(tokens: Tokens) -> np.ndarray:
    """Return each target token's source id of largest weight.

    Ties go to the smallest id. A row without a positive weight gets ``NO_SOURCE``.

    Args:
        tokens: rows of the alignment.

    Returns:
        int64, shape (targets,).
    """
    owner = np.repeat(np.arange(len(tokens.category)), np.diff(tokens.offsets))
    kept = tokens.weights > 0
    owner, sources, weights = owner[kept], tokens.sources[kept], tokens.weights[kept]
    order = np.lexsort((sources, -weights, owner))
    rows, first = np.unique(owner[order], return_index=True)
    best = np.full(len(tokens.category), NO_SOURCE, dtype=np.int64)
    best[rows] = sources[order][first]
    return best
