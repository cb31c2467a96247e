"""Quality of an alignment before any training: BLEU and similarity of text rewritten by it, and coverage."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from tokalign.alignment.align import Side
from tokalign.alignment.table import best_sources, read_tokens
from tokalign.common.errors import ArtifactError
from tokalign.evaluation.data.heldout import read_heldout
from tokalign.evaluation.statistics.bootstrap import RESAMPLES, SEED, ratio_interval
from tokalign.evaluation.statistics.token_bleu import HYPOTHESIS, ORDERS, SMOOTHING, bleu, corpus_bleu, corpus_intervals
from tokalign.evaluation.suites.alignment.rewriting import (
    PairSettings,
    Scored,
    rewritten_segments,
    score_documents,
    shared_tokens,
)
from tokalign.evaluation.suites.alignment.segments import CHARACTERS_PER_WORD
from tokalign.tokenizers.unreachable import unreachable_tokens

log = logging.getLogger(__name__)


def metric(
    name: str,
    tokens: str,
    level: str,
    value: float | None,
    ci95: list[float] | None,
    n: int,
    unit: str,
    reason: str | None = None,
) -> dict[str, Any]:
    """Return a score in the format of the result.

    Args:
        name: name of the metric.
        tokens: which tokens it covers: ``all``, ``not_shared`` or a category.
        level: ``document`` or ``segment`` (mean of their scores) or ``corpus`` (sums before ratios).
        value: value, or ``None``.
        ci95: 95 % interval of the value.
        n: sample size, in ``unit``.
        unit: unit of ``n``.
        reason: why there is no value.
    """
    return {"metric": name, "tokens": tokens, "level": level, "value": value, "ci95": ci95 if value is not None else None, "n": n,
            "unit": unit, "reason": reason}  # fmt: skip


def bleu_metrics(counts: np.ndarray, tokens: str, reason: str) -> list[dict[str, Any]]:
    """Return BLEU-1 ... BLEU-4, as the mean over documents and at corpus level.

    Args:
        counts: counts of ``count_matches``; documents with an empty hypothesis are left out.
        tokens: which tokens were counted.
        reason: reason to give if no document is left.
    """
    counts = counts[counts[:, HYPOTHESIS] > 0]
    n = len(counts)
    rows = []
    intervals = corpus_intervals(counts)
    for order in range(1, ORDERS + 1):
        scores = bleu(counts, order)
        mean = float(scores.mean()) if n else None
        why = None if n else reason
        rows.append(metric(f"bleu_{order}", tokens, "document", mean, ratio_interval(scores, np.ones(n)), n, "documents", why))
        whole = corpus_bleu(counts, order) if n else None
        rows.append(metric(f"bleu_{order}", tokens, "corpus", whole, intervals[order - 1], n, "documents", why))
    return rows


def coverage_metrics(running: dict[str, np.ndarray], total: np.ndarray) -> list[dict[str, Any]]:
    """Return shares of the running target tokens: with a source, shared, and by category.

    Args:
        running: tokens per document, by kind.
        total: all tokens per document.
    """
    n = int(total.sum())
    rows = []
    for name, counts in running.items():
        label = ("coverage", "all") if name == "mapped" else ("share_of_tokens", name)
        share = float(counts.sum() / n) if n else None
        rows.append(
            metric(*label, "corpus", share, ratio_interval(counts, total), n, "target tokens", None if n else "no tokens")
        )
    return rows


def metrics_of(scored: Scored, rows: np.ndarray) -> list[dict[str, Any]]:
    """Return the metrics of some documents, given by a mask."""
    every, unshared = scored.all[rows], scored.unshared[rows]
    none = "no token that is not shared" if scored.comparable[rows].any() else "the tokenizers do not spell the same bytes"
    return [
        *bleu_metrics(every, "all", "no tokens"),
        *bleu_metrics(unshared, "not_shared", none),
        *coverage_metrics({name: counts[rows] for name, counts in scored.running.items()}, every[:, HYPOTHESIS]),
    ]


SIMILARITIES = {
    "embedding_similarity": "cosine",
    "bertscore_precision": "precision",
    "bertscore_recall": "recall",
    "bertscore_f1": "f1",
}
"""Metrics of an embedder, each the mean of an attribute of ``embedder.Likeness``."""


def similarity_metrics(likeness: Any, owner: np.ndarray) -> list[dict[str, Any]]:
    """Return the mean of each similarity over segments; intervals resample documents with all their segments.

    Args:
        likeness: an ``embedder.Likeness``, or ``None`` if no embedder is configured.
        owner: document of each segment.
    """
    if likeness is None or not len(owner):
        reason = "no embedder is configured" if likeness is None else "no segments"
        return [metric(name, "all", "segment", None, None, 0, "segments", reason) for name in SIMILARITIES]
    number = np.bincount(owner)
    some = number > 0
    rows = []
    for name, attribute in SIMILARITIES.items():
        values = getattr(likeness, attribute)
        interval = ratio_interval(np.bincount(owner, values)[some], number[some])
        rows.append(metric(name, "all", "segment", float(values.mean()), interval, len(owner), "segments"))
    return rows


def evaluate_alignment(
    tokens_path: str | Path,
    target: Side,
    source: Side,
    documents: str | Path,
    labels: dict[str, Any],
    embedder: tuple[Any, Any, PairSettings] | None,
) -> dict[str, Any]:
    """Score an alignment on held-out documents.

    Args:
        tokens_path: ``tokens.parquet`` of the alignment.
        target: the target tokenizer.
        source: the source tokenizer.
        documents: Parquet file of held-out documents.
        labels: what is evaluated, copied into the result.
        embedder: a loaded ``embedder.Embedder``, its ``EmbedderSettings`` and the choice of pairs; ``None`` omits the
            similarity scores.

    Returns:
        ``labels``; ``metrics``, a list of :func:`metric` over all documents; ``groups``, the same per ``language`` and
        ``domain`` without similarity; ``unreachable`` target tokens; ``documents``, ``documents_not_comparable`` (left
        out of ``not_shared``), ``pairs_truncated``, ``settings``, ``bootstrap``.

    Raises:
        ArtifactError: the alignment does not belong to these tokenizers.
    """
    tokens, table = read_tokens(tokens_path), read_heldout(documents)
    sizes = (source.vocabulary.size, target.vocabulary.size)
    if len(tokens.category) != sizes[1] or not -1 < tokens.sources.min(initial=0) <= tokens.sources.max(initial=0) < sizes[0]:
        raise ArtifactError(
            f"{tokens_path}: does not belong to these tokenizers",
            found=f"{len(tokens.category)} rows, source ids {tokens.sources.min(initial=0)} to {tokens.sources.max(initial=0)}",
            expected=f"{sizes[1]} rows, source ids 0 to {sizes[0] - 1}",
            mend="align again",
        )
    texts = table["text"].to_pylist()
    best, shared = best_sources(tokens), shared_tokens(target.vocabulary, source.vocabulary)
    scored = score_documents(texts, target, source, tokens, best, shared)
    left_out = int((~scored.comparable).sum())
    if left_out:
        log.warning("%d of %d documents are not spelled alike by both tokenizers, left out of not_shared", left_out, len(texts))
    likeness, owner, settings = None, np.empty(0, np.int64), None
    if embedder is not None:
        from tokalign.evaluation.suites.alignment.embedder import compare

        model, how, pairs = embedder
        candidates, references, owner = rewritten_segments(texts, target, source, best, pairs)
        likeness = compare(model, candidates, references, how)
        settings = {**pairs.plain(), **how.plain(), "segment_characters": CHARACTERS_PER_WORD * pairs.segment_words}
    metrics = [*metrics_of(scored, np.ones(len(texts), dtype=bool)), *similarity_metrics(likeness, owner)]
    for row in metrics:
        if row["value"] is not None:
            log.info("%s, %s tokens, by %s: %.4f (n = %d)", row["metric"], row["tokens"], row["level"], row["value"], row["n"])
    keys = list(zip(table["language"].to_pylist(), table["domain"].to_pylist(), strict=True))
    groups = []
    for language, domain in sorted(set(keys)):
        chosen = np.array([key == (language, domain) for key in keys])
        groups.append({"language": language, "domain": domain, "metrics": metrics_of(scored, chosen)})
    return {
        "labels": labels,
        "metrics": metrics,
        "groups": groups,
        "unreachable": unreachable_tokens(target.tokenizer, target.vocabulary),
        "documents": len(texts),
        "documents_not_comparable": left_out,
        "pairs_truncated": None if likeness is None else likeness.truncated,
        "settings": {
            "bleu_smoothing": SMOOTHING,
            "bleu_weights": "1/n each",
            "row_with_several_sources": "largest weight, of equal ones the smallest id",
            "row_without_sources": "an error",
            "embedder": settings,
        },
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "unit": "document"},
    }
