"""One-to-one matching: a stable matching between queries and keys (Gale and Shapley 1962).

It goes through all pairs in order of similarity, best first, and keeps those whose query and key are still free. No query and
key that are not matched to each other would both prefer to be. Unlike the matching of greatest total similarity, it can be
computed exactly for vocabularies of any size in bounded memory: a short list of candidates per query is enough, and a query
that has used up its list is compared again with the keys that would accept it.
"""

from __future__ import annotations

import logging

import numpy as np
from numba import njit

from tokalign.alignment.search.similarity import best_matches

log = logging.getLogger(__name__)

CANDIDATES = 16
"""Keys that a query proposes to before it is compared again."""


@njit(nogil=True, cache=True)
def _propose(free, lists, values, nexts, partners, held, holders):
    """Let free queries propose down their lists; return those that reach the end unmatched.

    Args:
        free: queries, int64.
        lists: keys of each query, best first, -1 after the last, int64 (n, c).
        values: similarities of these (n, c).
        nexts: position in its list from which each query continues; updated.
        partners: key of each query, -1 for none; updated.
        held: similarity of each key to its query, -inf if free; updated.
        holders: query of each key, -1 if free; updated.
    """
    stack = free.copy()
    size = len(stack)
    ended = np.empty(len(partners), np.int64)
    number = 0
    while size:
        size -= 1
        query = stack[size]
        while True:
            place = nexts[query]
            if place == lists.shape[1] or lists[query, place] < 0:
                ended[number] = query
                number += 1
                break
            nexts[query] += 1
            key, value = lists[query, place], values[query, place]
            holder = holders[key]
            if value > held[key] or (value == held[key] and query < holder):
                held[key], holders[key], partners[query] = value, query, key
                if holder >= 0:
                    partners[holder] = -1
                    stack[size] = holder
                    size += 1
                break
    return np.sort(ended[:number])


def match_one_to_one(
    queries: np.ndarray,
    keys: np.ndarray,
    threads: int,
    *,
    rows: np.ndarray,
    query_offsets: np.ndarray,
    key_offsets: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stable matching of queries and keys by their dot products less offsets.

    Among equal similarities a query prefers the first key, and a key the first query. Memory: ``CANDIDATES`` positions and
    products per query, beyond what ``best_matches`` needs.

    Args:
        queries: float32, shape (n, d).
        keys: float32, shape (m, d).
        threads: number of threads; the result does not depend on it.
        rows: positions of the queries that take part, int64, ascending.
        query_offsets: subtracted from the products of each query, float32 (n,).
        key_offsets: subtracted from the products with each key, float32 (m,).

    Returns:
        Position of the key of each row, int64, -1 for rows without one (if there are more queries than keys); and the products
        less offsets, float32, -inf for these.
    """
    width = min(CANDIDATES, len(keys))
    lists = np.full((len(rows), width), -1, np.int64)
    values = np.full((len(rows), width), -np.inf, queries.dtype)
    nexts, partners = np.zeros(len(rows), np.int64), np.full(len(rows), -1, np.int64)
    held, holders = np.full(len(keys), -np.inf, queries.dtype), np.full(len(keys), -1, np.int64)
    free = np.arange(len(rows))
    while len(free):
        log.info("%d tokens look for a partner, %d of %d are taken", len(free), (holders >= 0).sum(), len(keys))
        numbers = np.where(holders >= 0, rows[holders], -1)
        lists[free], values[free] = best_matches(
            queries, keys, width, threads, rows=rows[free], query_offsets=query_offsets, key_offsets=key_offsets,
            held=held, holders=numbers,
        )  # fmt: skip
        nexts[free] = 0
        ended = _propose(free, lists, values, nexts, partners, held, holders)
        free = ended[lists[ended, -1] >= 0]  # a list that is not full has every key that would accept the query
    found = partners >= 0
    return partners, np.where(found, held[partners], -np.inf).astype(queries.dtype)
