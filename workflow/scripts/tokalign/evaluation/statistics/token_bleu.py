"""BLEU over token ids (Papineni et al. 2002): sacrebleu's, with the ids as words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from sacrebleu.metrics import BLEU

from tokalign.common.errors import ArtifactError
from tokalign.evaluation.statistics.bootstrap import intervals
from tokalign.evaluation.statistics.estimators import BLEU_COLUMNS

ORDERS = 4
SMOOTHING = "none"
"""A sequence without a match of some order scores 0. (NLTK's default uses the smallest float instead: a score below 1e-76.)"""
HYPOTHESIS, REFERENCE = 0, 1
"""Columns of the counts that hold lengths in tokens."""


def count_matches(hypotheses: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> np.ndarray:
    """Count the n-grams of documents and how many of them match.

    Args:
        hypotheses: token ids of each document, int64; -1 is an error that matches nothing.
        references: token ids of each reference, int64, none negative.

    Returns:
        A row of ``BLEU_COLUMNS`` per document, int64: hypothesis and reference length, the clipped n-gram matches of each
        order, then the n-grams of the hypothesis. Rows can be summed.

    Raises:
        ArtifactError: a reference has a negative id, or the numbers of documents differ.
    """
    lowest = min((int(ids.min(initial=0)) for ids in references), default=0)
    if len(hypotheses) != len(references) or lowest < 0:
        raise ArtifactError(
            "BLEU: hypothesis and reference do not fit together",
            found=f"{len(hypotheses)} and {len(references)} documents, lowest reference id {lowest}",
            expected="a reference of ids from 0 on for each hypothesis",
        )
    if not len(hypotheses):
        return np.empty((0, BLEU_COLUMNS), dtype=np.int64)
    texts, expected = ([" ".join(map(str, ids.tolist())) for ids in side] for side in (hypotheses, references))
    metric = BLEU(tokenize="none", max_ngram_order=ORDERS, force=True)
    return np.array(metric._extract_corpus_statistics(texts, [expected]), dtype=np.int64)


def bleu(counts: np.ndarray, order: int) -> np.ndarray:
    """Return BLEU-``order`` of each row: geometric mean of the precisions of orders 1 ... ``order``, times brevity penalty.

    The weights are 1/``order`` each. A row of sums gives the corpus-level BLEU.

    Args:
        counts: counts of :func:`count_matches`, or sums of them, shape (rows, ``BLEU_COLUMNS``).
        order: longest n-grams.

    Returns:
        float64, shape (rows,), from 0 to 1; 0 if some order has no match.
    """
    scores = [
        BLEU.compute_bleu(
            correct=row[2 : 2 + order],
            total=row[2 + ORDERS : 2 + ORDERS + order],
            sys_len=int(row[HYPOTHESIS]),
            ref_len=int(row[REFERENCE]),
            smooth_method=SMOOTHING,
            max_ngram_order=order,
        ).score
        for row in counts.tolist()
    ]
    return np.minimum(np.array(scores, dtype=np.float64) / 100, 1)  # rounding can exceed 1 for equal sequences


def corpus_bleu(counts: np.ndarray, order: int) -> float:
    """Return the corpus-level BLEU: counts and lengths are summed before the ratios."""
    return float(bleu(counts.sum(axis=0, keepdims=True), order)[0])


def corpus_intervals(counts: np.ndarray) -> list[list[float] | None]:
    """Return 95 % intervals of the corpus-level BLEU of orders 1 ... ``ORDERS``, resampling documents.

    Returns:
        The 2.5 % and 97.5 % quantiles for each order; ``None`` for fewer than two documents.
    """
    return intervals(counts, [(slice(None), partial(bleu, order=order), 1.0) for order in range(1, ORDERS + 1)])
