"""Tokens shared by both sides: special tokens by role, all others by canonical bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokalign.alignment.align import Rows, Side
from tokalign.tokenizers.vocabulary import ORDINARY, Vocabulary

ROLE_ORDER = ("eos", "bos", "unk", "pad", "turn_start", "turn_end", "sep", "cls", "mask")
"""If a token has several roles, the first of these that the other side has decides."""

STAND_IN = {"bos": "eos", "pad": "eos", "turn_end": "eos"}
"""Stand-ins for roles that the source lacks: text begins after an end of text, padding is never scored."""


def align_by_role(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Match special tokens by role (eos, bos, ...), then literal text, then stand-in role.

    Args:
        target: side that gets rows.
        source: side whose rows are used.
        open_ids: target ids without a row.
        settings: not used.

    Returns:
        Rows of category ``special``, one source token of weight 1 each.
    """
    theirs, ours = source.vocabulary, target.vocabulary
    literal = {theirs.tokens[i]: i for i, kind in enumerate(theirs.kinds) if kind == "special"}
    roles_of: dict[int, list[str]] = {}
    for role, i in ours.roles.items():
        roles_of.setdefault(i, []).append(role)
    found: dict[int, int] = {}
    for i in open_ids.tolist():
        if ours.kinds[i] != "special" and i not in roles_of:
            continue
        roles = sorted(roles_of.get(i, []), key=lambda role: ROLE_ORDER.index(role) if role in ROLE_ORDER else len(ROLE_ORDER))
        candidates = [theirs.roles[role] for role in roles if role in theirs.roles]
        candidates += [literal[ours.tokens[i]]] if ours.tokens[i] in literal else []
        candidates += [theirs.roles[STAND_IN[role]] for role in roles if STAND_IN.get(role) in theirs.roles]
        if candidates:
            found[i] = candidates[0]
    return Rows.single(np.array(list(found), np.int64), np.array(list(found.values()), np.int64), "special")


def ids_by_bytes(vocabulary: Vocabulary) -> dict[bytes, int]:
    """Return the id of each canonical byte string; text tokens precede byte fallbacks."""
    ids: dict[bytes, int] = {}
    for wanted in ORDINARY:
        for i, kind in enumerate(vocabulary.kinds):
            if kind == wanted and vocabulary.token_bytes[i]:
                ids.setdefault(vocabulary.token_bytes[i], i)
    return ids


def exact_pairs(target: Vocabulary, source: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Return target and source ids, int64, of ordinary tokens with the same canonical bytes."""
    known = ids_by_bytes(source)
    pairs = [(i, known[data]) for i, data in enumerate(target.token_bytes) if target.ordinary[i] and data in known]
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def align_by_bytes(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Match ordinary tokens with the same canonical bytes, however the two tokenizers spell them.

    Args:
        target: side that gets rows.
        source: side whose rows are used.
        open_ids: target ids without a row.
        settings: not used.

    Returns:
        Rows of category ``exact``, one source token of weight 1 each.
    """
    ids, sources = exact_pairs(target.vocabulary, source.vocabulary)
    wanted = np.isin(ids, open_ids)
    return Rows.single(ids[wanted], sources[wanted], "exact")
