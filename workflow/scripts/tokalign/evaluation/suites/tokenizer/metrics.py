"""How a tokenizer cuts text: fertility, compression, words that stay whole, evenness, parity between languages."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokalign.common.errors import ArtifactError
from tokalign.config.suites import TokenizerSettings
from tokalign.evaluation.results import Measure, digest_of, groups_of, metrics_of
from tokalign.evaluation.statistics.bootstrap import JACKKNIFE_GROUPS, jackknife_interval
from tokalign.evaluation.suite import Findings, write_findings
from tokalign.evaluation.suites.tokenizer.unigrams import count_unigrams, renyi_efficiency
from tokalign.evaluation.suites.tokenizer.words import TokenBytes, count_words
from tokalign.tokenizers.loading import encode, load_tokenizer
from tokalign.tokenizers.unreachable import unreachable_tokens
from tokalign.tokenizers.vocabulary import Vocabulary, read_vocabulary
from tokalign.tokens.shards import read_shard
from tokalign.tokens.tokenize import pieces

log = logging.getLogger(__name__)

DATASET = "validation"
BLOCK_TOKENS = 1 << 18
"""Tokens whose bytes are in memory at once (at least one document)."""
COUNTS_BYTES = 512_000_000
"""Most bytes of token counts at once; the shard is read again for the remaining groups of documents."""
BATCH_SEGMENTS = 4096

MEASURES = (
    Measure("fertility", "ratio", ("tokens", "words"), "tokens/word", "lower"),
    Measure("bytes_per_token", "ratio", ("bytes", "tokens"), "bytes/token", "higher"),
    Measure("characters_per_token", "ratio", ("characters", "tokens"), "characters/token", "higher"),
    Measure("tokens_per_character", "ratio", ("tokens", "characters"), "tokens/character", "lower"),
    Measure("unknown_rate", "ratio", ("unknown", "tokens"), "share of tokens", "lower"),
    Measure("continued_words", "ratio", ("continued_words", "placed_words"), "share of words", "lower"),
    Measure("single_token_words", "ratio", ("single_token_words", "placed_words"), "share of words", "higher"),
    Measure("document_fertility", "ratio", ("document_fertility", "with_words"), "tokens/word", "lower", "item"),
    Measure("document_bytes_per_token", "ratio", ("document_bytes_per_token", "with_tokens"), "bytes/token", "higher", "item"),
)
"""The last two are means over documents, as published by tokalign-baseline; the others are corpus-level."""
PARITY = Measure("parity", "ratio", ("tokens", "parity_tokens"), "tokens/token", "lower")
TOTALS = ("bytes", "characters", "words", "tokens", "unknown")


def read_counts(shard: str | Path, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """Count the tokens and words of each document of a token shard.

    If the tokens of a document do not spell as many words as its text has (because of a normalizer, or a special token that
    takes the white space around it), its words cannot be assigned to tokens, and it has no ``placed_words``.

    Args:
        shard: a token shard.
        vocabulary: vocabulary of the tokenizer that made it.

    Returns:
        ``tokens``, ``unknown``, ``bytes``, ``characters``, ``words``, ``placed_words``, ``continued_words``, ``single_token_words``
        (int64) and ``id``, ``language``, ``domain`` (object), each of shape (documents,).

    Raises:
        ArtifactError: the shard cannot be read, has no documents, or has an id outside the vocabulary.
    """
    token_bytes = TokenBytes.of(vocabulary.token_bytes)
    unknown = vocabulary.roles.get("unk")
    numbers = ("tokens", "unknown", "bytes", "characters", "words", "placed_words", "continued_words", "single_token_words")
    columns: dict[str, list[np.ndarray]] = {name: [] for name in (*numbers, "id", "language", "domain")}
    for batch in read_shard(shard):
        if batch.ids.max(initial=0) >= vocabulary.size:
            raise ArtifactError(
                f"{shard}: a token id is outside of the vocabulary",
                found=int(batch.ids.max()),
                expected=f"below {vocabulary.size}",
                mend="give the vocabulary of the tokenizer that made the shard",
            )
        lengths = np.diff(batch.offsets)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        hits = owner[batch.ids == unknown] if unknown is not None else owner[:0]
        columns["tokens"].append(lengths)
        columns["unknown"].append(np.bincount(hits, minlength=len(lengths)))
        for name in ("bytes", "characters", "words"):
            columns[name].append(batch.table.column(name).to_numpy().astype(np.int64))
        for name, source in (("id", "document"), ("language", "language"), ("domain", "domain")):
            columns[name].append(np.array(batch.table.column(source).to_pylist(), dtype=object))
        for first, last in pieces(lengths.tolist(), BLOCK_TOKENS):
            offsets = batch.offsets[first : last + 1]
            found = count_words(batch.ids[offsets[0] : offsets[-1]], offsets - offsets[0], token_bytes)
            placed = found.words == columns["words"][-1][first:last]
            columns["placed_words"].append(found.words * placed)
            columns["continued_words"].append(found.continued * placed)
            columns["single_token_words"].append(found.single * placed)
    if not sum(map(len, columns["tokens"])):
        raise ArtifactError(f"{shard}: no documents", mend="give the corpus more validation documents")
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def _share(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratio of each document, and 1 if it is defined; otherwise both are 0."""
    has = below > 0
    return np.divide(above, below, out=np.zeros(len(above)), where=has), has.astype(np.int64)


def document_items(counts: dict[str, np.ndarray]) -> pa.Table:
    """Return the items of a shard's documents, with the columns that ``MEASURES`` needs.

    Args:
        counts: counts of :func:`read_counts`.
    """
    documents = len(counts["tokens"])
    fertility, with_words = _share(counts["tokens"], counts["words"])
    compression, with_tokens = _share(counts["bytes"], counts["tokens"])
    return pa.table(
        {
            "dataset": [DATASET] * documents,
            "condition": [""] * documents,
            **{name: pa.array(counts[name], pa.string()) for name in ("language", "domain", "id")},
            **{name: values for name, values in counts.items() if values.dtype != object},
            "document_fertility": fertility,
            "with_words": with_words,
            "document_bytes_per_token": compression,
            "with_tokens": with_tokens,
        }
    )


def left_out(folds: np.ndarray, estimate: Callable[[np.ndarray], float]) -> tuple[float, list[float]]:
    """Return an estimate from all counts, and estimates with one fold left out.

    Args:
        folds: counts, shape (folds, ids); empty folds are ignored.
        estimate: function of counts of shape (ids,).
    """
    total = folds.sum(0)
    used = folds[folds.any(1)]
    return estimate(total), [estimate(total - fold) for fold in used] if len(used) > 1 else []


def unigram_metrics(
    shard: str | Path, items: pa.Table, vocabulary: Vocabulary, settings: TokenizerSettings
) -> Iterator[dict[str, Any]]:
    """Yield the metrics of the token distribution, with jackknife intervals over folds of documents.

    Args:
        shard: a token shard.
        items: its documents in order, all of one dataset and condition.
        vocabulary: vocabulary of the tokenizer.
        settings: order of the Renyi efficiency.
    """
    ordinary = vocabulary.ordinary
    possible = int(ordinary.sum())
    groups = groups_of(items)
    whole, parts = groups[0], groups[1:] or groups
    group, fold = np.zeros((2, items.num_rows), dtype=np.int64)
    for number, (_, chosen) in enumerate(parts):
        group[chosen] = number
        fold[chosen] = np.arange(len(chosen)) % JACKKNIFE_GROUPS
    wanted: tuple[tuple[str, str, str, Callable[[np.ndarray], float]], ...] = (
        ("renyi_efficiency", "share of log vocabulary", "higher",
         lambda counts: renyi_efficiency(counts, settings.renyi_alpha, possible)),
        ("vocabulary_share", "share of vocabulary", "higher",
         lambda counts: float((counts[ordinary] > 0).sum() / possible) if possible else math.nan),
    )  # fmt: skip

    def of_group(place: tuple[str, str, str, str], documents: int, folds: np.ndarray) -> Iterator[dict[str, Any]]:
        for name, unit, better, estimate in wanted:
            value, replicates = left_out(folds, estimate)
            finite = len(replicates) > 0 and bool(np.isfinite(replicates).all())
            found = {
                **dict(zip(("dataset", "condition", "language", "domain"), place, strict=True)),
                "metric": name, "value": value if math.isfinite(value) else None, "unit": unit, "better": better,
                "ci95": jackknife_interval(value, replicates) if finite else None, "n": documents, "items": "documents",
                "level": "corpus",
            }  # fmt: skip
            yield found | {"replicates": {"kind": "jackknife", "values": replicates}} if finite else found

    total = np.zeros((JACKKNIFE_GROUPS, vocabulary.size), dtype=np.int64)
    at_once = max(1, COUNTS_BYTES // total.nbytes)
    for first in range(0, len(parts), at_once):
        some = parts[first : first + at_once]
        counts = count_unigrams(shard, group - first, fold, len(some), vocabulary.size)
        total += counts.sum(0)
        for (place, chosen), folds in zip(some, counts, strict=True):
            yield from of_group(place, len(chosen), folds)
    if len(groups) > 1:
        yield from of_group(whole[0], len(whole[1]), total)


def parity_items(testset: str | Path, tokenizer: Any, parity_language: str) -> pa.Table:
    """Count the tokens of each segment of a parallel test set in each language and in ``parity_language``.

    Args:
        testset: ``results/testsets/NAME/items.parquet`` with ``id`` and a string column per language; the folder gives the name.
        tokenizer: a fast tokenizer.
        parity_language: the language to compare the others with.

    Returns:
        Items with ``tokens`` and ``parity_tokens``, for all languages except ``parity_language``.

    Raises:
        ArtifactError: the file is missing or damaged, or lacks that language or any other.
    """
    try:
        table = pq.read_table(testset)
    except FileNotFoundError as error:
        raise ArtifactError(f"{testset}: no such file", mend="prepare the test set first") from error
    except pa.ArrowException as error:
        raise ArtifactError(f"{testset}: not a readable Parquet file", found=error, mend="make it again") from error
    languages = [name for name in table.column_names if name != "id"]
    if parity_language not in languages or languages == [parity_language] or "id" not in table.column_names:
        raise ArtifactError(
            f"{testset}: not a parallel test set with this language",
            found=f"columns {', '.join(table.column_names)}",
            expected=f"id, {parity_language} and other languages",
            mend="set parity_language to a language of the test set",
        )

    def tokens(language: str) -> np.ndarray:
        texts = table[language].to_pylist()
        blocks = (texts[i : i + BATCH_SEGMENTS] for i in range(0, len(texts), BATCH_SEGMENTS))
        return np.array([len(ids) for block in blocks for ids in encode(tokenizer, block)], dtype=np.int64)

    base = tokens(parity_language)
    found = [
        pa.table(
            {
                "dataset": [Path(testset).parent.name] * len(base),
                "condition": [""] * len(base),
                "language": [language] * len(base),
                "domain": [""] * len(base),
                "id": table["id"].cast(pa.string()),
                "tokens": tokens(language),
                "parity_tokens": base,
            }
        )
        for language in languages
        if language != parity_language
    ]
    return pa.concat_tables(found)


def totals(items: pa.Table) -> list[dict[str, Any]]:
    """Return the sums of each group of documents: ``language``, ``domain``, ``documents`` and ``TOTALS``."""
    numbers = {name: items.column(name).to_numpy() for name in TOTALS}
    return [
        {"language": place[2], "domain": place[3], "documents": len(chosen)}
        | {name: int(values[chosen].sum()) for name, values in numbers.items()}
        for place, chosen in groups_of(items)
    ]


def evaluate_tokenizer(
    shard: str | Path,
    vocabulary: str | Path,
    folder: str | Path,
    settings: TokenizerSettings,
    labels: dict[str, Any],
    output: str | Path,
    testset: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Measure a tokenizer on a token shard and write the result.

    Args:
        shard: Arrow file of tokenized validation documents.
        vocabulary: vocabulary table of the tokenizer.
        folder: tokenizer folder.
        settings: what to measure.
        labels: what is evaluated, copied into the result.
        output: JSON file to write, with its items beside it: a row per document, and per segment and language of the test set.
        testset: items of a parallel test set, if any.

    Returns:
        The metrics: ``MEASURES`` and those of :func:`unigram_metrics`, for all text and each language and domain, and ``PARITY``
        for each language of the test set.
    """
    start = time.perf_counter()
    described = read_vocabulary(vocabulary)
    tokenizer = load_tokenizer(folder)
    documents = document_items(read_counts(shard, described))
    metrics = metrics_of(documents, MEASURES, "documents")
    metrics += unigram_metrics(shard, documents, described, settings)
    items, digests = documents, {"tokenizer": digest_of(folder), "data": digest_of(shard)}
    if testset is not None and settings.parity_language is not None:
        segments = parity_items(testset, tokenizer, settings.parity_language)
        for language in dict.fromkeys(segments["language"].to_pylist()):
            metrics += metrics_of(segments.filter(pa.compute.equal(segments["language"], language)), [PARITY], "segments")
        items = pa.concat_tables([documents, segments], promote_options="default")
        digests["testset"] = digest_of(testset)
    not_placed = int((documents["placed_words"].to_numpy() != documents["words"].to_numpy()).sum())
    if not_placed:
        log.warning("warning: words of %d documents cannot be placed among their tokens, which spell others", not_placed)
    unreachable = unreachable_tokens(tokenizer, described)
    sums = totals(documents)
    log.info("%d documents, %d tokens; %d of %d tokens cannot be reached", sums[0]["documents"], sums[0]["tokens"],
             unreachable["unreachable"], unreachable["tested"])  # fmt: skip
    more = {
        "totals": sums,
        "vocabulary": {"ids": described.size, "ordinary": int(described.ordinary.sum())},
        "unknown_token": described.roles.get("unk"),
        "unreachable": unreachable,
        "documents_without_placed_words": not_placed,
    }
    write_findings(
        output,
        "tokenizers",
        Findings(items, metrics, more),
        labels=labels,
        settings=settings,
        digests=digests,
        how={"versions": {name: version(name) for name in ("tokenizers", "transformers")}, "device": "cpu", "precision": None},
        seconds=time.perf_counter() - start,
    )
    return metrics
