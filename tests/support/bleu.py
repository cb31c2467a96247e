"""BLEU by plain loops, as a reference."""

from __future__ import annotations

import math
from collections import Counter


def grams(ids: list[int], order: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(ids[i : i + order]) for i in range(len(ids) - order + 1))


def geometric(matches: list[int], totals: list[int], hypothesis: int, reference: int) -> float:
    """Return the score of Papineni et al. (2002), section 2.3, with uniform weights."""
    if 0 in matches:
        return 0.0
    penalty = 1.0 if hypothesis > reference else math.exp(1 - reference / hypothesis)
    return penalty * math.prod(m / t for m, t in zip(matches, totals, strict=True)) ** (1 / len(matches))


def by_loops(pairs: list[tuple[list[int], list[int]]], order: int) -> tuple[list[float], float]:
    """Return the BLEU of each pair of hypothesis and reference, and the corpus-level BLEU."""
    rows = []
    for hypothesis, reference in pairs:
        matches = [sum((grams(hypothesis, n) & grams(reference, n)).values()) for n in range(1, order + 1)]
        rows.append((matches, [grams(hypothesis, n).total() for n in range(1, order + 1)], len(hypothesis), len(reference)))
    sums = [[sum(r[part][n] for r in rows) for n in range(order)] for part in (0, 1)]
    return [geometric(*row) for row in rows], geometric(*sums, sum(r[2] for r in rows), sum(r[3] for r in rows))
