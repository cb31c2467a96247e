"""Report on an alignment: categories, scores, source tokens used, examples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tokalign.alignment.categories import CATEGORIES
from tokalign.alignment.table import Tokens, read_tokens
from tokalign.common.errors import ArtifactError
from tokalign.tokenizers.vocabulary import read_texts
from tokalign.tokens.counts import count_tokens

log = logging.getLogger(__name__)

QUANTILES = (0, 5, 25, 50, 75, 95, 100)
BIN_EDGES = np.round(np.linspace(-1, 1, 41), 2)
HUBS = 20
EXAMPLES = 12
TOP = 10


def gini(counts: np.ndarray) -> float | None:
    """Return the Gini coefficient of counts: half the mean absolute difference over the mean.

    Args:
        counts: non-negative, shape (n,).

    Returns:
        0 ... 1 - 1/n; ``None`` if all are 0.
    """
    total = int(counts.sum())
    if not total:
        return None
    ranks = np.arange(1, len(counts) + 1, dtype=np.float64)
    return float(2 * (ranks * np.sort(counts)).sum() / (len(counts) * total) - (len(counts) + 1) / len(counts))


def duplicated_rows(tokens: Tokens) -> dict[str, int]:
    """Count target tokens with the same row of A, hence the same initial embedding.

    Returns:
        Number of ``groups`` of two or more target tokens with the same sources and weights, of ``tokens`` in them, and of
        tokens in the ``largest`` group. Rows without sources are not counted.
    """
    groups: dict[bytes, int] = {}
    for start, end in pairwise(tokens.offsets.tolist()):
        if end > start:
            order = np.argsort(tokens.sources[start:end], kind="stable")
            key = tokens.sources[start:end][order].tobytes() + tokens.weights[start:end][order].tobytes()
            groups[key] = groups.get(key, 0) + 1
    sizes = [size for size in groups.values() if size > 1]
    return {"groups": len(sizes), "tokens": sum(sizes), "largest": max(sizes, default=0)}


def weight_spread(tokens: Tokens, category: str) -> dict[str, Any]:
    """Return how many source tokens the rows of a category use, and how evenly.

    Args:
        tokens: rows of the alignment.
        category: category of the rows that count.

    Returns:
        Quantiles (percent to value) and mean of ``sources`` per row (those with a weight other than 0) and of
        ``entropy_bits``: -sum p log2 p of the row, where p are absolute weights divided by their sum (0 for one source).
    """
    rows = len(tokens.category)
    owner = np.repeat(np.arange(rows), np.diff(tokens.offsets))
    weights = np.abs(tokens.weights)
    number = np.bincount(owner, weights > 0, minlength=rows)
    totals = np.bincount(owner, weights, minlength=rows)
    kept = weights > 0
    p = weights[kept] / totals[owner[kept]]
    entropy = np.maximum(np.bincount(owner[kept], -p * np.log2(p), minlength=rows), 0)
    chosen = tokens.category == category
    return {
        name: {
            "quantiles": {str(q): float(np.percentile(values[chosen], q)) for q in QUANTILES},
            "mean": float(values[chosen].mean()),
        }
        for name, values in (("sources", number), ("entropy_bits", entropy))
    }


def hubs(tokens: Tokens, category: str, texts: list[str]) -> dict[str, Any]:
    """Return which source tokens the target tokens of a category use.

    A source token that very many target tokens use is a hub (Radovanovic et al. 2010): often a sign of vectors that
    are close to everything.

    Args:
        tokens: rows of the alignment.
        category: category of the rows that count.
        texts: texts of the source vocabulary.

    Returns:
        ``distinct`` source tokens used; ``top_share``: share of the category's target tokens that use one of the ``TOP`` most
        used; ``gini`` of the uses over all source tokens (0: equally often; near 1: a few dominate); and the
        ``most_used``: ``id``, ``text``, ``targets`` (number of target tokens).
    """
    owner = np.repeat(np.arange(len(tokens.category)), np.diff(tokens.offsets))
    chosen = tokens.category[owner] == category
    owner, used = owner[chosen], tokens.sources[chosen]
    counts = np.bincount(used, minlength=len(texts))
    order = np.lexsort((np.arange(len(counts)), -counts))[:HUBS]
    users = len(np.unique(owner[np.isin(used, order[:TOP])]))
    return {
        "distinct": int(np.count_nonzero(counts)),
        "top_share": users / int((tokens.category == category).sum()),
        "gini": gini(counts),
        "most_used": [{"id": int(i), "text": texts[i], "targets": int(counts[i])} for i in order if counts[i]],
    }


def examples(tokens: Tokens, source_texts: list[str], target_texts: list[str]) -> list[dict[str, Any]]:
    """Return examples of aligned tokens around quantiles of the score (not random).

    Returns:
        Per quantile (5, 25, 50, 75, 95 %): ``quantile``, its ``score`` and ``tokens``: the ``EXAMPLES`` that are
        nearest to it in order of score, each with ``target_id``, ``target``, ``score`` and ``sources`` (``id``,
        ``text``, ``weight``).
    """
    aligned = np.flatnonzero(tokens.category == "aligned")
    order = aligned[np.lexsort((aligned, tokens.score[aligned]))]
    result = []
    for quantile in QUANTILES[1:-1] if len(order) else ():
        middle = round(quantile / 100 * (len(order) - 1))
        start = max(0, min(middle - EXAMPLES // 2, len(order) - EXAMPLES))
        rows = []
        for i in order[start : start + EXAMPLES]:
            entries = range(tokens.offsets[i], tokens.offsets[i + 1])
            rows.append(
                {
                    "target_id": int(i),
                    "target": target_texts[i],
                    "score": float(tokens.score[i]),
                    "sources": [
                        {
                            "id": int(tokens.sources[e]),
                            "text": source_texts[tokens.sources[e]],
                            "weight": float(tokens.weights[e]),
                        }
                        for e in entries
                    ],
                }
            )
        result.append({"quantile": quantile, "score": float(tokens.score[order[middle]]), "tokens": rows})
    return result


def report_alignment(
    tokens_path: str | Path,
    source_vocabulary: str | Path,
    target_vocabulary: str | Path,
    shards: Sequence[str | Path],
    labels: dict[str, Any],
) -> dict[str, Any]:
    """Describe an alignment.

    Args:
        tokens_path: ``tokens.parquet`` of the alignment.
        source_vocabulary: ``vocabulary.parquet`` of the source tokenizer.
        target_vocabulary: ``vocabulary.parquet`` of the target tokenizer.
        shards: token shards of the target tokenizer, to weight tokens by their frequency; may be empty.
        labels: names of the alignment, copied into the result.

    Returns:
        ``labels``; ``target_tokens``, ``source_tokens`` (sizes); ``corpus_tokens`` (in the shards, ``None`` without);
        ``categories``: per category ``tokens``, ``share`` of the vocabulary and ``corpus_share`` of the corpus' tokens
        (``None`` without shards); ``scores`` of aligned tokens: ``quantiles`` (percent to cosine), ``mean``, and
        ``histogram`` (``edges``, ``counts``), ``None`` without aligned tokens; ``source_tokens_used`` by any target
        token; ``weights`` by category (:func:`weight_spread`); ``duplicated_rows``; ``hubs`` by category except ``special`` and
        ``exact``; ``examples``.

    Raises:
        ArtifactError: the files do not belong together, a score is missing or outside [-1, 1].
    """
    tokens = read_tokens(tokens_path)
    source_texts, target_texts = read_texts(source_vocabulary), read_texts(target_vocabulary)
    if len(tokens.category) != len(target_texts):
        raise ArtifactError(
            f"{tokens_path}: does not belong to {target_vocabulary}",
            found=f"{len(tokens.category)} rows",
            expected=f"{len(target_texts)}, one per target token",
            mend="align again",
        )
    if len(tokens.sources) and not 0 <= tokens.sources.min() <= tokens.sources.max() < len(source_texts):
        raise ArtifactError(
            f"{tokens_path}: a source id is outside of {source_vocabulary}",
            found=f"{tokens.sources.min()} ... {tokens.sources.max()}",
            expected=f"0 ... {len(source_texts) - 1}",
            mend="align again",
        )
    scores = tokens.score[tokens.category == "aligned"]
    if not (np.abs(scores) <= 1 + 1e-5).all():
        raise ArtifactError(f"{tokens_path}: an aligned token has no cosine as its score", mend="align again")
    counts = count_tokens(shards, len(target_texts)) if shards else None
    total = int(counts.sum()) if counts is not None else 0
    names = [*CATEGORIES, *sorted(set(tokens.category) - set(CATEGORIES))]
    categories = {}
    for name in names:
        chosen = tokens.category == name
        categories[name] = {
            "tokens": int(chosen.sum()),
            "share": float(chosen.mean()),
            "corpus_share": float(counts[chosen].sum() / total) if total else None,
        }
        if chosen.any():
            log.info("%s: %d tokens, %.2f %% of the vocabulary", name, chosen.sum(), 100 * chosen.mean())
    lengths = np.diff(tokens.offsets)
    with_sources = [name for name in names if lengths[tokens.category == name].any()]
    return {
        "labels": labels,
        "target_tokens": len(target_texts),
        "source_tokens": len(source_texts),
        "corpus_tokens": total if shards else None,
        "categories": categories,
        "scores": None
        if not len(scores)
        else {
            "quantiles": {str(q): float(np.percentile(scores, q)) for q in QUANTILES},
            "mean": float(scores.mean()),
            "histogram": {
                "edges": BIN_EDGES.tolist(),
                "counts": np.histogram(scores.clip(-1, 1), bins=BIN_EDGES)[0].tolist(),
            },
        },
        "source_tokens_used": len(np.unique(tokens.sources)),
        "weights": {name: weight_spread(tokens, name) for name in with_sources},
        "duplicated_rows": duplicated_rows(tokens),
        "hubs": {name: hubs(tokens, name, source_texts) for name in with_sources if name not in ("special", "exact")},
        "examples": examples(tokens, source_texts, target_texts),
    }
