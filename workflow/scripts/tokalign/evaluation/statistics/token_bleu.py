"""BLEU over token ids (Papineni et al. 2002): n-grams of a hypothesis that also stand in its reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tokalign.common.errors import ArtifactError
from tokalign.evaluation.statistics.bootstrap import BLOCK_BYTES, RESAMPLES, SEED

ORDERS = 4
SMOOTHING = "none"
"""A sequence without a match of some order scores 0. (NLTK's default puts the smallest float there: a score below 1e-76.)"""


@dataclass(frozen=True)
class NgramCounts:
    """What BLEU is made of; counts of several documents add up.

    Attributes:
        matches: n-grams of the hypothesis that the reference has, each at most as often as there, shape (documents, ORDERS).
        ngrams: n-grams of the hypothesis, shape (documents, ORDERS); column n - 1 is of order n.
        hypothesis: tokens of the hypothesis, shape (documents,).
        reference: tokens of the reference, shape (documents,). All are int64, or float64 sums.
    """

    matches: np.ndarray
    ngrams: np.ndarray
    hypothesis: np.ndarray
    reference: np.ndarray

    def chosen(self, rows: np.ndarray) -> NgramCounts:
        """Return the counts of some documents, given by a mask or by indices."""
        return NgramCounts(self.matches[rows], self.ngrams[rows], self.hypothesis[rows], self.reference[rows])

    def summed(self, times: np.ndarray) -> NgramCounts:
        """Return sums over documents, each taken so many times; ``times`` has shape (sums, documents)."""
        return NgramCounts(times @ self.matches, times @ self.ngrams, times @ self.hypothesis, times @ self.reference)

    @classmethod
    def joined(cls, parts: list[NgramCounts]) -> NgramCounts:
        """Return the counts of all documents of several parts, in order."""
        names = ("matches", "ngrams", "hypothesis", "reference")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def count_matches(
    hypothesis: np.ndarray, hypothesis_offsets: np.ndarray, reference: np.ndarray, reference_offsets: np.ndarray
) -> NgramCounts:
    """Count the n-grams of documents and those that match.

    Args:
        hypothesis: token ids of all documents, one behind the other, int64; -1 is an error that matches nothing.
        hypothesis_offsets: where each document begins in them, and the end, int64, shape (documents + 1,).
        reference: token ids of the references, int64, none negative.
        reference_offsets: likewise.

    Returns:
        A row per document.

    Raises:
        ArtifactError: the reference has a negative id, or numbers of documents differ.
    """
    documents = len(hypothesis_offsets) - 1
    if len(reference_offsets) - 1 != documents or reference.min(initial=0) < 0:
        raise ArtifactError(
            "BLEU: hypothesis and reference do not fit together",
            found=f"{documents} and {len(reference_offsets) - 1} documents, lowest reference id {reference.min(initial=0)}",
            expected="a reference of ids from 0 on for each hypothesis",
        )
    lengths = [np.diff(hypothesis_offsets), np.diff(reference_offsets)]
    tokens, first = np.unique(np.concatenate([hypothesis, reference]), return_inverse=True)
    document = np.repeat(np.tile(np.arange(documents), 2), np.concatenate(lengths))
    sequence = np.repeat(np.arange(2 * documents), np.concatenate(lengths))
    matches = np.zeros((documents, ORDERS), dtype=np.int64)
    ngrams = np.zeros((documents, ORDERS), dtype=np.int64)
    code = first.astype(np.int64)
    for order in range(1, ORDERS + 1):
        at = np.arange(max(0, len(first) - order + 1))
        at = at[sequence[at] == sequence[at + order - 1]]
        if order > 1:
            _, inverse = np.unique(code[at] * len(tokens) + first[at + order - 1], return_inverse=True)
            code = np.zeros_like(code)
            code[at] = inverse
        grams = int(code[at].max(initial=0)) + 1
        key = document[at] * grams + code[at]
        ours = at < len(hypothesis)
        found, times = np.unique(key[ours], return_counts=True)
        expected, limits = np.unique(key[~ours], return_counts=True)
        common, i, j = np.intersect1d(found, expected, assume_unique=True, return_indices=True)
        np.add.at(matches[:, order - 1], common // grams, np.minimum(times[i], limits[j]))
        ngrams[:, order - 1] = np.bincount(document[at[ours]], minlength=documents)
    return NgramCounts(matches, ngrams, lengths[0], lengths[1])


def bleu(counts: NgramCounts, order: int) -> np.ndarray:
    """Return BLEU-``order`` of each row: geometric mean of the precisions of orders 1 ... ``order``, times brevity penalty.

    The weights are 1/``order`` each. Equal to ``nltk.translate.bleu_score.sentence_bleu`` with one reference, but for
    ``SMOOTHING``; on a row of sums it is the corpus-level BLEU.

    Returns:
        float64, shape (rows,); 0 where some order has no match.
    """
    matches, ngrams = counts.matches[:, :order], counts.ngrams[:, :order]
    scored = (matches > 0).all(axis=1)
    logs = np.log(np.where(scored[:, None], matches, 1)) - np.log(np.where(scored[:, None], ngrams, 1))
    shortness = 1 - counts.reference / np.maximum(counts.hypothesis, 1)
    return np.where(scored, np.exp(logs.mean(axis=1) + np.minimum(shortness, 0)), 0.0)


def corpus_bleu(counts: NgramCounts, order: int) -> float:
    """Return the BLEU of all documents as one: counts and lengths are summed before ratios are taken."""
    return float(bleu(counts.summed(np.ones((1, len(counts.hypothesis)))), order)[0])


def corpus_intervals(counts: NgramCounts) -> list[list[float] | None]:
    """Return 95 % intervals of the corpus-level BLEU of orders 1 ... ``ORDERS``, resampling documents.

    Percentile bootstrap with the resamples of :func:`tokalign.bootstrap.ratio_interval`.

    Returns:
        The 2.5 % and 97.5 % quantiles for each order; ``None`` for fewer than two documents.
    """
    documents = len(counts.hypothesis)
    if documents < 2:
        return [None] * ORDERS
    random = np.random.default_rng(SEED)
    block = max(1, BLOCK_BYTES // (8 * documents))
    scores: list[list[np.ndarray]] = [[] for _ in range(ORDERS)]
    for start in range(0, RESAMPLES, block):
        times = random.multinomial(documents, np.full(documents, 1 / documents), size=min(block, RESAMPLES - start))
        sums = counts.summed(times)
        for order in range(1, ORDERS + 1):
            scores[order - 1].append(bleu(sums, order))
    return [[float(q) for q in np.quantile(np.concatenate(parts), [0.025, 0.975])] for parts in scores]
