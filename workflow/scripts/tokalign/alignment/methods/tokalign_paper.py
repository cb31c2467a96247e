"""TokAlign as its authors published it, for comparison with published alignments (ZNLP/TokAlign, cal_trans_matrix.py)."""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np

from tokalign.alignment.align import Rows, Side
from tokalign.alignment.methods.vanilla import check_dimensions
from tokalign.alignment.methods.vector_matching import positions_of, vectors_of
from tokalign.alignment.search.similarity import best_matches, normalize
from tokalign.common.errors import InputError
from tokalign.tokenizers.vocabulary import Vocabulary

log = logging.getLogger(__name__)


def equal_spellings(target: Vocabulary, source: Vocabulary) -> dict[int, int]:
    """Return target id -> source id of equally spelled tokens, special ones included (count_dict.py)."""
    theirs = {token: i for i, token in enumerate(source.tokens) if token}
    return {i: theirs[token] for i, token in enumerate(target.tokens) if token in theirs}


def align_as_published(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Align by the original program's rules, with its random numbers and its precision.

    1. A token with the same spelling in both tokenizers (not: the same bytes) becomes that token.
    2. A token without a vector becomes a source token drawn uniformly from all ids.
    3. Any other becomes the source token, special ones included, with the greatest product: of unit vectors (``vanilla``), or
       of their cosines to the pivots, which are not normalized again (``relative``). The pivots are the first pairs of rule 1
       that have vectors on both sides, in the order of ``random.seed(0)`` and ``random.shuffle``; all of them if there are
       fewer than ``pivots``.

    The original takes the second best if the best is the row ``<unk>`` of its GloVe file; the vectors here have no such row,
    which has the same effect. Its random ids go up to the number of embedding rows, here to the tokenizer's size, so they
    differ for a model with padding rows; its draws in ``vanilla`` have no seed, here they start from ``random.seed(0)``.

    Args:
        target: side that gets rows, with vectors.
        source: side whose rows are used, with vectors.
        open_ids: target ids without a row; the answer for a token does not depend on which are open.
        settings: ``tokalign_paper`` {``pivots``, ``mode``} and ``threads``.

    Returns:
        Rows for all open tokens, with categories ``exact`` (rule 1), ``random`` (2) and ``aligned`` (3); the score of the
        last is the cosine of the two rows that were compared, not their product.

    Raises:
        InputError: no pivots, or vectors of different numbers of dimensions in ``vanilla``.
    """
    chosen = settings["tokalign_paper"]
    ours, theirs = vectors_of(target), vectors_of(source)
    gold = equal_spellings(target.vocabulary, source.vocabulary)
    at_target = positions_of(ours, target.vocabulary.size)
    at_source = positions_of(theirs, source.vocabulary.size)
    generator = random.Random(0)
    queries, keys = (normalize(vectors.vectors.astype(np.float64)) for vectors in (ours, theirs))
    if chosen["mode"] == "relative":
        shuffled = list(gold)
        generator.shuffle(shuffled)
        pairs = [(i, gold[i]) for i in shuffled if at_target[i] >= 0 and at_source[gold[i]] >= 0][: chosen["pivots"]]
        if not pairs:
            raise InputError(
                "alignment by tokalign_paper: no pivots",
                found=f"{len(gold)} tokens are spelled alike, none of them has vectors on both sides",
                expected="at least one",
                mend="give a larger corpus, or align by 'relative', which compares tokens by their bytes",
            )
        if len(pairs) < chosen["pivots"]:
            log.warning("only %d pivots, not %d", len(pairs), chosen["pivots"])
        queries = queries @ queries[at_target[[i for i, _ in pairs]]].T
        keys = keys @ keys[at_source[[j for _, j in pairs]]].T
    else:
        check_dimensions(target, source, "tokalign_paper")
    size = target.vocabulary.size
    sources, categories = np.empty(size, np.int64), np.full(size, "aligned", object)
    for i in range(size):
        if i in gold:
            sources[i], categories[i] = gold[i], "exact"
        elif at_target[i] < 0:
            sources[i], categories[i] = generator.randint(0, source.vocabulary.size - 1), "random"
    compared = open_ids[categories[open_ids] == "aligned"]
    where, products = best_matches(queries, keys, 1, settings["threads"], rows=at_target[compared])
    sources[compared] = theirs.token_ids[where[:, 0]]
    lengths = np.linalg.norm(queries, axis=1)[at_target[compared]] * np.linalg.norm(keys, axis=1)[where[:, 0]]
    scores = np.full(size, np.nan, np.float32)
    scores[compared] = np.divide(products[:, 0], lengths, out=np.zeros(len(compared)), where=lengths > 0)
    return Rows.single(open_ids, sources[open_ids], categories[open_ids], scores[open_ids])
