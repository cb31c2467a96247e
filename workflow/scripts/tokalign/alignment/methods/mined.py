"""MinED: the source token of least edit distance (tokenkit, ``compute_mined_mapping.py``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokalign.alignment.align import Rows, Side
from tokalign.alignment.methods.overlap import ids_by_bytes
from tokalign.alignment.search.edit_distance import nearest_strings
from tokalign.tokenizers.vocabulary import Vocabulary


def order_of_preference(source: Side, ids: np.ndarray) -> np.ndarray:
    """Return ranks of source ids, int64: frequent ones first (given vectors), then smaller ids."""
    counts = np.zeros(source.vocabulary.size, np.int64)
    if source.vectors is not None:
        counts[source.vectors.token_ids] = source.vectors.counts
    ranks = np.empty(len(ids), np.int64)
    ranks[np.lexsort((ids, -counts[ids]))] = np.arange(len(ids))
    return ranks


def with_bytes(vocabulary: Vocabulary, ids: np.ndarray) -> np.ndarray:
    """Return the ids whose tokens are ordinary and not empty, int64."""
    return ids[vocabulary.ordinary[ids] & (vocabulary.lengths[ids] > 0)]


def align_by_edit_distance(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Give each open token the source token whose canonical bytes are nearest by Levenshtein distance.

    Ties go to the more frequent token if the alignment reads vectors and so knows counts, then to the smaller id. tokenkit
    compares characters of GPT-2's byte alphabet, which also stand for bytes.

    Args:
        target: side that gets rows.
        source: side whose rows are used; its vectors, if any, for their counts.
        open_ids: target ids without a row.
        settings: ``mined`` {``min_similarity``} and ``threads``.

    Returns:
        Rows of category ``mined``, one source token of weight 1 each, for open ordinary tokens; the score is 1 - distance /
        length of the longer token, both in bytes. Tokens with a score below ``min_similarity`` are left out.
    """
    known = ids_by_bytes(source.vocabulary)
    candidates = np.array(sorted(known.values()), np.int64)
    ids = with_bytes(target.vocabulary, open_ids)
    if not len(ids):
        return Rows.single(ids, ids, "mined")
    strings = [source.vocabulary.token_bytes[i] for i in candidates.tolist()]
    queries = [target.vocabulary.token_bytes[i] for i in ids.tolist()]
    where, distances = nearest_strings(queries, strings, order_of_preference(source, candidates), settings["threads"])
    longer = np.maximum([len(query) for query in queries], [len(strings[i]) for i in where.tolist()])
    scores = (1 - distances / longer).astype(np.float32)
    good = scores >= settings["mined"]["min_similarity"]
    return Rows.single(ids[good], candidates[where[good]], "mined", scores[good])
