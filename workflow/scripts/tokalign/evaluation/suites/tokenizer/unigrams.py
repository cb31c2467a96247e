"""How evenly a text uses a vocabulary: token counts, by folds of documents for the jackknife."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tokalign.evaluation.statistics.bootstrap import JACKKNIFE_GROUPS
from tokalign.tokens.shards import read_shard


def count_unigrams(shard: str | Path, group: np.ndarray, fold: np.ndarray, groups: int, size: int) -> np.ndarray:
    """Count the tokens of a shard by group of documents and fold.

    Args:
        shard: a token shard.
        group: group of each document, int64, shape (documents,); documents outside 0 ... groups - 1 are left out.
        fold: fold of each document, 0 ... ``JACKKNIFE_GROUPS`` - 1, int64, shape (documents,).
        groups: number of groups.
        size: size of the vocabulary; ids are below it.

    Returns:
        Counts, int64, shape (groups, ``JACKKNIFE_GROUPS``, size).
    """
    counts = np.zeros(groups * JACKKNIFE_GROUPS * size, dtype=np.int64)
    done = 0
    for batch in read_shard(shard):
        lengths = np.diff(batch.offsets)
        here = slice(done, done + len(lengths))
        done += len(lengths)
        wanted = (group[here] >= 0) & (group[here] < groups)
        if wanted.any():
            row = np.repeat((group[here] * JACKKNIFE_GROUPS + fold[here]) * size, lengths)
            keys, times = np.unique((row + batch.ids)[np.repeat(wanted, lengths)], return_counts=True)
            counts[keys] += times
    return counts.reshape(groups, JACKKNIFE_GROUPS, size)


def renyi_efficiency(counts: np.ndarray, alpha: float, vocabulary: int) -> float:
    """Return the Renyi entropy of a token distribution as a share of the uniform one's (Zouhar et al. 2023).

    Args:
        counts: count of each token, shape (ids,).
        alpha: order; 1 is Shannon's entropy.
        vocabulary: number of tokens that could occur.

    Returns:
        Entropy over the logarithm of ``vocabulary``; NaN if there are no tokens or the vocabulary is below 2.
    """
    total = counts.sum()
    if not total or vocabulary < 2:
        return math.nan
    p = counts[counts > 0] / total
    entropy = -(p * np.log(p)).sum() if alpha == 1 else np.log((p**alpha).sum()) / (1 - alpha)
    return float(entropy / math.log(vocabulary))
