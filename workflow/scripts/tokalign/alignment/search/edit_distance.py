"""Levenshtein distance between byte strings, and the nearest of many strings by it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from tokalign.common.progress import Progress

WORD = 64
"""Longest string, in bytes, that one machine word stands for."""

BLOCK = 256
"""Strings that a thread takes at a time."""


@njit(nogil=True, cache=True)
def _myers(table, length, text):
    """Return the distance of a pattern of at most 64 bytes to a text (Myers 1999 in the form of Hyyro 2001).

    Args:
        table: bit i of entry b says that byte i of the pattern is b; uint64 (256).
        length: of the pattern, at least 1.
        text: uint8.
    """
    one = np.uint64(1)
    last = np.uint64(length - 1)
    plus, minus = ~np.uint64(0), np.uint64(0)
    distance = length
    for byte in text:
        equal = table[byte]
        vertical = equal | minus
        diagonal = (((equal & plus) + plus) ^ plus) | equal
        up = minus | ~(diagonal | plus)
        down = plus & diagonal
        distance += np.int64((up >> last) & one) - np.int64((down >> last) & one)
        up = (up << one) | one
        plus = (down << one) | ~(vertical | up)
        minus = up & vertical
    return distance


@njit(nogil=True, cache=True)
def _by_rows(pattern, text, row):
    """Return the distance by dynamic programming (Wagner and Fischer 1974); ``row`` has room for len(text) + 1 numbers."""
    for j in range(len(text) + 1):
        row[j] = j
    for i in range(len(pattern)):
        corner = row[0]
        row[0] = i + 1
        for j in range(len(text)):
            value = min(row[j] + 1, row[j + 1] + 1, corner + (pattern[i] != text[j]))
            corner = row[j + 1]
            row[j + 1] = value
    return row[len(text)]


@njit(nogil=True, cache=True)
def _ones(x):
    """Count the bits of a 64-bit word (Hacker's Delight, figure 5-2)."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(nogil=True, cache=True)
def _signature(text):
    """Return which bytes, modulo 64, a string has."""
    bits = np.uint64(0)
    for byte in text:
        bits |= np.uint64(1) << np.uint64(byte & 63)
    return bits


@njit(nogil=True, cache=True)
def _signatures(data, starts):
    result = np.empty(len(starts) - 1, np.uint64)
    for i in range(len(result)):
        result[i] = _signature(data[starts[i] : starts[i + 1]])
    return result


@njit(nogil=True, cache=True)
def _nearest(queries, query_starts, first, end, data, starts, ranks, signatures, buckets, where, distances):
    """Find the nearest string for some queries; see ``nearest_strings``.

    Args:
        queries: bytes of all queries, one after the other.
        query_starts: where each begins.
        first: first query.
        end: behind the last query.
        data: bytes of the strings in the order of their lengths, and for each length of their ranks.
        starts: where each begins.
        ranks: of each string.
        signatures: of each string.
        buckets: first string of each length, and behind the last one.
        where: gets the string of each query.
        distances: gets its distance.
    """
    table = np.zeros(256, np.uint64)
    longest = len(buckets) - 2
    row = np.empty(longest + 1, np.int64)
    for query in range(first, end):
        pattern = queries[query_starts[query] : query_starts[query + 1]]
        length = len(pattern)
        short = length <= WORD
        if short:
            for i in range(length):
                table[pattern[i]] |= np.uint64(1) << np.uint64(i)
        bits = _signature(pattern)
        best, best_rank, best_string = np.int64(2**62), np.int64(2**62), -1
        for difference in range(max(length, longest) + 1):
            if difference > best:
                break
            for other in (length - difference, length + difference):
                if other < 0 or other > longest:
                    continue
                for string in range(buckets[other], buckets[other + 1]):
                    theirs = signatures[string]
                    least = max(difference, _ones(bits & ~theirs), _ones(theirs & ~bits))
                    if least > best or (least == best and ranks[string] >= best_rank):
                        continue
                    text = data[starts[string] : starts[string + 1]]
                    distance = _myers(table, length, text) if short else _by_rows(pattern, text, row)
                    if distance < best or (distance == best and ranks[string] < best_rank):
                        best, best_rank, best_string = distance, ranks[string], string
                if difference == 0:
                    break
        where[query], distances[query] = best_string, best
        if short:
            for i in range(length):
                table[pattern[i]] = np.uint64(0)


def joined(strings: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of all strings, uint8, and where each begins, int64 (n + 1)."""
    starts = np.concatenate([[0], np.cumsum([len(string) for string in strings])]).astype(np.int64)
    return np.frombuffer(b"".join(strings), np.uint8), starts


def nearest_strings(
    queries: Sequence[bytes], strings: Sequence[bytes], ranks: np.ndarray, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each query the string of least Levenshtein distance; of equally near ones that of least rank.

    Strings are visited by their difference in length, which is a lower bound of the distance, as is the number of bytes
    (modulo 64) that only one of the two has; the distance itself is computed where no bound exceeds the best so far, 64 rows at
    once (for queries of at most 64 bytes).

    Args:
        queries: not empty each.
        strings: at least one, not empty each.
        ranks: of the strings, all different, int64.
        threads: the result does not depend on their number.

    Returns:
        Positions of strings and distances, both int64, shape (len(queries),).
    """
    lengths = np.array([len(string) for string in strings])
    order = np.lexsort((ranks, lengths))
    data, starts = joined([strings[i] for i in order])
    query_data, query_starts = joined(queries)
    buckets = np.searchsorted(lengths[order], np.arange(lengths.max() + 2))
    signatures = _signatures(data, starts)
    where, distances = np.empty(len(queries), np.int64), np.empty(len(queries), np.int64)
    progress = Progress("compared", len(queries), "tokens")

    def work(first: int) -> int:
        end = min(first + BLOCK, len(queries))
        _nearest(
            query_data, query_starts, first, end, data, starts, ranks[order], signatures, buckets, where, distances
        )  # fmt: skip
        return end - first

    with ThreadPoolExecutor(threads) as pool:
        for number in pool.map(work, range(0, len(queries), BLOCK)):
            progress.advance(number)
    progress.close()
    return order[where], distances
