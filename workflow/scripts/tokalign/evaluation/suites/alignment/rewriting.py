"""Text rewritten by an alignment, compared with the tokens of the source tokenizer.

A held-out document is tokenized by both tokenizers. For the *hypothesis*, the alignment maps each target token to the source
token with the largest weight in its row. The *reference* is the document's source tokens (TokAlign, Li et al. 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokalign.alignment.align import Side
from tokalign.alignment.table import NO_SOURCE, Tokens
from tokalign.common.progress import Progress
from tokalign.config.evaluations import PairSettings
from tokalign.evaluation.statistics.token_bleu import count_matches
from tokalign.evaluation.suites.alignment.segments import sample_segments
from tokalign.tokenizers.loading import encode
from tokalign.tokenizers.vocabulary import Vocabulary

BATCH_BYTES = 4_000_000
"""UTF-8 bytes of text whose tokens are in memory at once."""


def text_of(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    """Return the text of token ids; ``NO_SOURCE`` is skipped, and invalid UTF-8 becomes U+FFFD."""
    return b"".join(vocabulary.token_bytes[i] for i in ids if i != NO_SOURCE).decode("utf-8", "replace")


def shared_tokens(target: Vocabulary, source: Vocabulary) -> np.ndarray:
    """Return which target tokens need no alignment: special tokens, and those with the bytes of a source token.

    This depends only on the vocabularies, so that alignments by different methods are scored on the same tokens.

    Returns:
        bool, shape (targets,).
    """
    known = {data for data, ordinary in zip(source.token_bytes, source.ordinary, strict=True) if ordinary and data}
    return ~target.ordinary | np.array([data in known for data in target.token_bytes], dtype=bool)


def spans(lengths: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the byte positions in a document where tokens begin and end.

    Args:
        lengths: bytes of each token, int64, shape (tokens,).
        shift: bytes before the document, which are ignored (the space that some tokenizers prepend).

    Returns:
        Two int64 arrays of shape (tokens,).
    """
    ends = np.cumsum(lengths) - shift
    return np.maximum(ends - lengths, 0), np.maximum(ends, 0)


def unshared_parts(
    target_ids: np.ndarray, source_ids: np.ndarray, target: Side, source: Side, shared: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return which tokens of a document count if shared tokens do not.

    The hypothesis is the target tokens that are not shared, in order. The reference is the source tokens whose bytes are
    all covered by these, in order. A source token that is partly covered by a shared target token is left out, so that
    even a perfect alignment can score below 1.

    Args:
        target_ids: target tokens of the document, int64.
        source_ids: its source tokens, int64.
        target: the target tokenizer.
        source: the source tokenizer.
        shared: whether each target id is shared, bool.

    Returns:
        A mask over the target tokens and one over the source tokens; ``None`` if the two sides do not spell the same bytes
        (one of them normalizes text, or has unknown tokens). A leading space on only one side is ignored.
    """
    ours, theirs = (
        b"".join(side.vocabulary.token_bytes[i] for i in ids.tolist())
        for side, ids in ((target, target_ids), (source, source_ids))
    )
    shifts = (int(ours == b" " + theirs), int(theirs == b" " + ours))
    if ours != theirs and not any(shifts):
        return None
    begin, end = spans(target.vocabulary.lengths[target_ids], shifts[0])
    wanted = ~shared[target_ids]
    covered = np.zeros(len(ours) - shifts[0] + 1, dtype=np.int64)
    covered[1:] = np.repeat(wanted, end - begin)
    before = np.cumsum(covered)
    begin, end = spans(source.vocabulary.lengths[source_ids], shifts[1])
    return wanted, (end > begin) & (before[end] - before[begin] == end - begin)


@dataclass(frozen=True)
class Scored:
    """Counts of the documents.

    Attributes:
        all: n-grams of all tokens, a row of ``count_matches`` per document.
        unshared: n-grams of tokens that are not shared, a row per document (zeros if not comparable).
        comparable: whether both sides spell the same bytes, bool, shape (documents,).
        running: target tokens by category, "mapped" (with a source) and "shared", int64, shape (documents,) each.
    """

    all: np.ndarray
    unshared: np.ndarray
    comparable: np.ndarray
    running: dict[str, np.ndarray]


def score_documents(
    texts: Sequence[str], target: Side, source: Side, tokens: Tokens, best: np.ndarray, shared: np.ndarray
) -> Scored:
    """Count the n-grams and tokens of documents.

    Args:
        texts: the documents.
        target: the tokenizer whose tokens are mapped.
        source: the tokenizer of the reference.
        tokens: rows of the alignment.
        best: source id per target id, from :func:`best_sources`.
        shared: whether each target id is shared, from :func:`shared_tokens`.

    Returns:
        Counts, one row per document.
    """
    categories = sorted(set(tokens.category))
    code = np.searchsorted(categories, tokens.category)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    comparable: list[bool] = []
    running: list[np.ndarray] = []
    sizes = [len(text.encode("utf-8")) for text in texts]
    progress = Progress("documents scored", sum(sizes), "bytes")
    start = 0
    while start < len(texts):
        stop, size = start + 1, sizes[start]
        while stop < len(texts) and size + sizes[stop] <= BATCH_BYTES:
            size += sizes[stop]
            stop += 1
        ours, theirs = (
            [np.array(ids, dtype=np.int64) for ids in encode(side.tokenizer, list(texts[start:stop]))]
            for side in (target, source)
        )
        hypotheses, references = [], []
        for target_ids, source_ids in zip(ours, theirs, strict=True):
            chosen = unshared_parts(target_ids, source_ids, target, source, shared)
            comparable.append(chosen is not None)
            hypotheses.append(best[target_ids[chosen[0]]] if chosen else target_ids[:0])
            references.append(source_ids[chosen[1]] if chosen else source_ids[:0])
            own = np.bincount(code[target_ids], minlength=len(categories))
            running.append(np.array([*own, (best[target_ids] != NO_SOURCE).sum(), shared[target_ids].sum()]))
        mapped = [best[ids] for ids in ours]
        parts.append((count_matches(mapped, theirs), count_matches(hypotheses, references)))
        progress.advance(size)
        start = stop
    progress.close()
    columns = np.array(running, dtype=np.int64).reshape(len(texts), len(categories) + 2)
    names = [*categories, "mapped", "shared"]
    return Scored(
        all=np.concatenate([a for a, _ in parts]),
        unshared=np.concatenate([b for _, b in parts]),
        comparable=np.array(comparable, dtype=bool),
        running={name: columns[:, i] for i, name in enumerate(names)},
    )


def rewritten_segments(
    texts: list[str], target: Side, source: Side, best: np.ndarray, settings: PairSettings
) -> tuple[list[str], list[str], np.ndarray]:
    """Return segments as rewritten by the alignment and as spelled by the source tokenizer.

    Each segment is tokenized separately. Target tokens without a source add no text.

    Args:
        texts: the documents.
        target: the tokenizer whose tokens are mapped.
        source: the tokenizer of the reference.
        best: source id per target id.
        settings: length, number and seed of the segments.

    Returns:
        Texts of the mapped ids, texts of the source ids, and each segment's document, int64.
    """
    pieces, owner = sample_segments(texts, settings.segment_words, settings.pairs, settings.seed)
    ours, theirs = encode(target.tokenizer, pieces), encode(source.tokenizer, pieces)
    known = source.vocabulary
    return [text_of(known, best[ids].tolist()) for ids in ours], [text_of(known, ids) for ids in theirs], owner
