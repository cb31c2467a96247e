"""The alignment: a sparse matrix between vocabularies, and how its rows were found."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from tokalign.alignment.fills import FILLS
from tokalign.alignment.matrix import Alignment
from tokalign.common.errors import ConfigurationError, InputError
from tokalign.tokenizers.loading import load_tokenizer
from tokalign.tokenizers.vocabulary import Vocabulary, read_vocabulary
from tokalign.vectors.vectors import Vectors, read_vectors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Side:
    """A tokenizer, its vocabulary, and its vectors.

    Attributes:
        vocabulary: canonical bytes, kinds and roles of all ids.
        tokenizer: the fast tokenizer itself.
        vectors: vectors of its tokens; ``None`` if nothing reads them.
    """

    vocabulary: Vocabulary
    tokenizer: Any
    vectors: Vectors | None = None

    @classmethod
    def read(cls, folder: str | Path, vocabulary: str | Path, vectors: str | Path | None = None) -> Side:
        """Load a resolved tokenizer's folder, its vocabulary.parquet and, if given, its vectors."""
        return cls(read_vocabulary(vocabulary), load_tokenizer(folder), read_vectors(vectors) if vectors else None)


@dataclass(frozen=True)
class Rows:
    """What a method found: rows of A for some target tokens.

    Attributes:
        ids: target ids, int64, shape (n,).
        indptr: start of each row in ``sources``, int64, shape (n + 1,).
        sources: source ids, int64; the weights of an id repeated in a row are added.
        weights: weights of the source ids, float32, finite; in most methods they sum to 1 per row.
        category: how these rows were found, one of ``categories.CATEGORIES`` for all, or a string array with one per row.
        scores: float32, shape (n,), NaN for none.
        output_weights: weights of the source ids for the LM head, float32, if they differ; ``None``: the same.
        fill: code of ``fills.FILLS`` for rows without source ids.
    """

    ids: np.ndarray
    indptr: np.ndarray
    sources: np.ndarray
    weights: np.ndarray
    category: str | np.ndarray
    scores: np.ndarray
    output_weights: np.ndarray | None = None
    fill: int = FILLS["none"]

    @classmethod
    def single(cls, ids: np.ndarray, sources: np.ndarray, category: str | np.ndarray, scores: np.ndarray | None = None) -> Rows:
        """Return rows with one source token of weight 1 each."""
        n = len(ids)
        scores = np.full(n, np.nan, np.float32) if scores is None else scores.astype(np.float32)
        indptr = np.arange(n + 1, dtype=np.int64)
        return cls(np.asarray(ids, np.int64), indptr, np.asarray(sources, np.int64), np.ones(n, np.float32), category, scores)

    @classmethod
    def filled(cls, ids: np.ndarray, name: str) -> Rows:
        """Return empty rows that the initialization fills; ``name`` is their fill and category."""
        n = len(ids)
        nothing, scores = np.empty(0, np.int64), np.full(n, np.nan, np.float32)
        indptr = np.zeros(n + 1, np.int64)
        return cls(np.asarray(ids, np.int64), indptr, nothing, nothing.astype(np.float32), name, scores, fill=FILLS[name])


Method = Callable[[Side, Side, np.ndarray, dict[str, Any]], Rows]
"""A method: (target, source, target ids still without a row, settings of the alignment block) -> rows for some of them."""


def check_different(target: Vocabulary, source: Vocabulary, where: str) -> None:
    """Check that two tokenizers do not have the same vocabulary.

    Raises:
        InputError: every id stands for the same bytes on both sides.
    """
    if target.token_bytes == source.token_bytes:
        raise InputError(
            f"{where}: the new tokenizer has the vocabulary that the model already has",
            found=f"the same {target.size} tokens with the same ids",
            expected="another vocabulary",
            mend="name another tokenizer in the experiment, or another source in its tokenizer block",
        )


def align(target: Side, source: Side, methods: dict[str, Method], settings: dict[str, Any]) -> Alignment:
    """Apply each method in turn to the target tokens that have no row yet.

    Args:
        target: the vocabulary that gets rows.
        source: the vocabulary whose rows are used.
        methods: methods by name, in the order of their use.
        settings: the alignment block of the configuration.

    Returns:
        A row for every target id.

    Raises:
        ConfigurationError: none of the methods found a row for some token.
    """
    size = target.vocabulary.size
    open_ids = np.arange(size, dtype=np.int64)
    categories = np.full(size, "", dtype=object)
    scores = np.full(size, np.nan, dtype=np.float32)
    fill = np.zeros(size, dtype=np.int8)
    parts: list[Rows] = []
    for name, method in methods.items():
        rows = method(target, source, open_ids, settings)
        empty = np.diff(rows.indptr) == 0
        if (empty != (rows.fill != FILLS["none"])).any():
            raise ValueError(f"the method {name} gave rows without source tokens, or a fill code for rows with some")
        parts.append(rows)
        categories[rows.ids] = rows.category
        scores[rows.ids] = rows.scores
        fill[rows.ids] = rows.fill
        open_ids = np.setdiff1d(open_ids, rows.ids, assume_unique=True)
        log.info("%s: %d of %d tokens, %d left", name, len(rows.ids), size, len(open_ids))
    if len(open_ids):
        first = int(open_ids[0])
        raise ConfigurationError(
            f"alignments: {len(open_ids)} target tokens were found by none of the methods {', '.join(methods)}",
            found=f"for instance id {first}, {target.vocabulary.tokens[first]!r}",
            mend="append 'decomposed' or 'random' to `methods` of this alignment",
        )
    matrix, output = assemble(parts, (size, source.vocabulary.size))
    return Alignment(matrix, categories.astype(str), scores, fill, source.vocabulary.ordinary, output, settings["seed"])


def assemble(parts: list[Rows], shape: tuple[int, int]) -> tuple[sparse.csr_matrix, sparse.csr_matrix | None]:
    """Combine the rows of several methods; add weights of repeated source tokens, keep zeros.

    Args:
        parts: rows of different target ids.
        shape: (|V_target|, |V_source|).

    Returns:
        The matrix, and that of the LM head with the same pattern, or ``None`` if no method gave weights for it.
    """
    rows = np.concatenate([np.repeat(part.ids, np.diff(part.indptr)) for part in parts])
    sources = np.concatenate([part.sources for part in parts])
    order = np.lexsort((sources, rows))
    rows, sources = rows[order], sources[order]
    first = np.flatnonzero(np.r_[True, (np.diff(rows) != 0) | (np.diff(sources) != 0)][: len(rows)])
    indptr = np.searchsorted(rows[first], np.arange(shape[0] + 1))

    def matrix(weights: list[np.ndarray]) -> sparse.csr_matrix:
        ordered = np.concatenate(weights).astype(np.float64)[order]
        data = (np.add.reduceat(ordered, first) if len(first) else ordered).astype(np.float32)
        return sparse.csr_matrix((data, sources[first], indptr), shape=shape)

    both = [part.weights if part.output_weights is None else part.output_weights for part in parts]
    differs = any(part.output_weights is not None for part in parts)
    return matrix([part.weights for part in parts]), matrix(both) if differs else None
