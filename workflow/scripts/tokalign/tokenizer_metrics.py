"""How many tokens a tokenizer needs for text: corpus-level fertility and compression."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tokalign.bootstrap import RESAMPLES, SEED, ratio_interval
from tokalign.errors import ArtefactError
from tokalign.shards import read_shard

log = logging.getLogger(__name__)

COLUMNS = ("bytes", "characters", "words", "language", "domain")


def unknown_token(vocabulary: str | Path) -> tuple[int | None, int]:
    """Return the id of the token with the role ``unk``, if any, and the number of ids, from a vocabulary table.

    Raises:
        ArtefactError: no such file.
    """
    try:
        table = pq.read_table(vocabulary, columns=["id", "roles"])
    except FileNotFoundError as error:
        raise ArtefactError(f"{vocabulary}: no such file", mend="describe the tokenizer first") from error
    rows = zip(table["id"].to_pylist(), table["roles"].to_pylist(), strict=True)
    return next((token for token, roles in rows if roles and "unk" in roles), None), table.num_rows


def read_counts(shard: str | Path, unknown: int | None, size: int) -> dict[str, np.ndarray]:
    """Count the tokens of each document of a token shard.

    Args:
        shard: a token shard.
        unknown: id of the unknown token.
        size: number of ids of the vocabulary.

    Returns:
        ``tokens``, ``unknown``, ``bytes``, ``characters``, ``words`` (int64) and ``language``, ``domain`` (object),
        each of shape (documents,).

    Raises:
        ArtefactError: the shard cannot be read or has no documents, or an id outside of the vocabulary.
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("tokens", "unknown", *COLUMNS)}
    for batch in read_shard(shard):
        if batch.ids.max(initial=0) >= size:
            raise ArtefactError(
                f"{shard}: a token id is outside of the vocabulary",
                found=int(batch.ids.max()),
                expected=f"below {size}",
                mend="give the vocabulary of the tokenizer that made the shard",
            )
        lengths = np.diff(batch.offsets)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        hits = owner[batch.ids == unknown] if unknown is not None else owner[:0]
        columns["tokens"].append(lengths)
        columns["unknown"].append(np.bincount(hits, minlength=len(lengths)))
        for name in ("bytes", "characters", "words"):
            columns[name].append(batch.table.column(name).to_numpy().astype(np.int64))
        for name in ("language", "domain"):
            columns[name].append(np.array(batch.table.column(name).to_pylist(), dtype=object))
    if not sum(map(len, columns["tokens"])):
        raise ArtefactError(f"{shard}: no documents", mend="give the corpus more validation documents")
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def ratio(above: np.ndarray, below: np.ndarray) -> float | None:
    """Return the ratio of two sums, or ``None`` where it is not defined."""
    return float(above.sum() / below.sum()) if below.sum() else None


def summary(counts: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the metrics of a set of documents; each is a ratio of sums, not a mean over documents.

    Args:
        counts: as from :func:`read_counts`.

    Returns:
        ``fertility`` = tokens / words, where words are what whitespace separates, which says little where words are
        not separated so (Chinese, Japanese, Thai): ``tokens_per_character`` is meant for these;
        ``bytes_per_token`` (compression); ``characters_per_token``; ``unknown_rate`` = unknown tokens / tokens;
        bootstrap intervals ``fertility_ci95`` and ``bytes_per_token_ci95``; the sums ``documents``, ``bytes``,
        ``characters``, ``words``, ``tokens``.
    """
    tokens, words = counts["tokens"], counts["words"]
    return {
        "fertility": ratio(tokens, words),
        "fertility_ci95": ratio_interval(tokens, words),
        "bytes_per_token": ratio(counts["bytes"], tokens),
        "bytes_per_token_ci95": ratio_interval(counts["bytes"], tokens),
        "characters_per_token": ratio(counts["characters"], tokens),
        "tokens_per_character": ratio(tokens, counts["characters"]),
        "unknown_rate": ratio(counts["unknown"], tokens),
        "documents": len(tokens),
        **{name: int(counts[name].sum()) for name in ("bytes", "characters", "words", "tokens")},
    }


def evaluate_tokenizer(shard: str | Path, vocabulary: str | Path, labels: dict[str, Any]) -> dict[str, Any]:
    """Measure a tokenizer on a token shard.

    Args:
        shard: Arrow file of tokenized validation documents.
        vocabulary: vocabulary table of the tokenizer.
        labels: what this is, copied into the result.

    Returns:
        ``labels``, ``overall`` and ``groups`` (per language and domain) of :func:`summary`, ``unknown_token`` (id or
        ``None``), ``vocabulary_size``, ``bootstrap``.
    """
    unknown, size = unknown_token(vocabulary)
    counts = read_counts(shard, unknown, size)
    groups = []
    for language, domain in sorted(set(zip(counts["language"], counts["domain"], strict=True))):
        chosen = (counts["language"] == language) & (counts["domain"] == domain)
        part = {name: values[chosen] for name, values in counts.items()}
        groups.append({"language": language, "domain": domain, **summary(part)})
    overall = summary(counts)
    log.info("%d documents, %d tokens, %.3f bytes per token", overall["documents"], overall["tokens"],
             overall["bytes_per_token"] or 0.0)  # fmt: skip
    return {
        "labels": labels,
        "overall": overall,
        "groups": groups,
        "unknown_token": unknown,
        "vocabulary_size": size,
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "unit": "document"},
    }
