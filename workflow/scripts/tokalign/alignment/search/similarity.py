"""Greatest dot products between two sets of rows, exact and in bounded memory.

Products are computed in blocks of one fixed shape (the last ones are padded) that fits a core's cache, where a compiled scan
takes from them what beats the best found so far. The bytes are the same for any number of threads. Each thread has its own
blocks, so BLAS should use one thread (``OPENBLAS_NUM_THREADS=1``), as the rules set: with more, the threads wait for each
other, and products may differ in the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import local

import numpy as np
from numba import njit

from tokalign.common.progress import Progress

QUERY_ROWS = 512
KEY_ROWS = 1024
"""Shape of a block of products: 2 MiB in float32."""

CHUNK = 64
"""Products that the scan compares at once."""


def normalize(rows: np.ndarray) -> np.ndarray:
    """Return rows scaled to length 1, in their own type; a zero row stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


@njit(nogil=True, cache=True)
def _candidates(products, offset, offsets, held, least):
    """Count products less offsets that exceed ``least`` and reach what the key holds.

    LLVM vectorizes a count, but not a maximum.
    """
    number = np.int32(0)
    for j in range(len(products)):
        value = products[j] - offsets[j] - offset
        number += np.int32((value > least) & (value >= held[j]))
    return number


@njit(nogil=True, cache=True)
def _scan(block, first_key, count, rows, query_offsets, key_offsets, held, holders, where, products):
    """Merge a block of products into each row's best ones, ties in key order.

    Args:
        block: products, shape (at least as many as rows, at least count).
        first_key: position of the block's first key.
        count: keys in the block.
        rows: number of each query, int64; a smaller number beats a key's holder with an equal product.
        query_offsets: subtracted from each row.
        key_offsets: subtracted from each column of the block.
        held: least product that each key accepts.
        holders: query that each key holds; -1 for none.
        where: keys found so far, -1 for none; updated.
        products: their products less offsets, -inf for none; updated.
    """
    last = where.shape[1] - 1
    for i in range(len(rows)):
        row = block[i]
        offset = query_offsets[i]
        for start in range(0, count, CHUNK):
            end = min(start + CHUNK, count)
            chunk = slice(start, end)
            if not _candidates(row[chunk], offset, key_offsets[chunk], held[chunk], products[i, last]):
                continue
            for j in range(start, end):
                value = row[j] - key_offsets[j] - offset
                if value <= products[i, last] or value < held[j] or (value == held[j] and holders[j] <= rows[i]):
                    continue
                place = last
                while place > 0 and products[i, place - 1] < value:
                    products[i, place] = products[i, place - 1]
                    where[i, place] = where[i, place - 1]
                    place -= 1
                products[i, place] = value
                where[i, place] = first_key + j


def blocks_of(keys: np.ndarray) -> list[np.ndarray]:
    """Return the keys in blocks of ``KEY_ROWS``, the last one padded with zeros."""
    full = len(keys) // KEY_ROWS * KEY_ROWS
    blocks = [keys[start : start + KEY_ROWS] for start in range(0, full, KEY_ROWS)]
    if full < len(keys):
        padded = np.zeros((KEY_ROWS, keys.shape[1]), keys.dtype)
        padded[: len(keys) - full] = keys[full:]
        blocks.append(padded)
    return blocks


def in_blocks(number: int, work: Callable[[int, int], object], threads: int, what: str) -> Iterator[object]:
    """Call ``work(start, end)`` per block of ``QUERY_ROWS`` rows on threads; yield results in order."""
    progress = Progress(what, number, "tokens")
    starts = range(0, number, QUERY_ROWS)
    with ThreadPoolExecutor(threads) as pool:
        for start, result in zip(starts, pool.map(lambda s: work(s, min(s + QUERY_ROWS, number)), starts), strict=True):
            progress.advance(min(QUERY_ROWS, number - start))
            yield result
    progress.close()


class Scanner:
    """Buffers of one thread that compares blocks of queries with all keys.

    Args:
        blocks: from ``blocks_of``.
        number: number of keys.
        key_offsets: subtracted from the products with each key, shape (number,), of the keys' type.
        held: least product that each key accepts; ``None``: any.
        holders: see ``_scan``; belongs to ``held``.
    """

    def __init__(
        self,
        blocks: list[np.ndarray],
        number: int,
        key_offsets: np.ndarray,
        held: np.ndarray | None = None,
        holders: np.ndarray | None = None,
    ):
        """Allocate the buffers."""
        self.blocks, self.number, self.key_offsets = blocks, number, key_offsets
        kind = blocks[0].dtype
        self.held = np.full(number, -np.inf, kind) if held is None else held
        self.holders = np.full(number, -1, np.int64) if holders is None else holders
        self.queries = np.zeros((QUERY_ROWS, blocks[0].shape[1]), kind)
        self.products = np.empty((QUERY_ROWS, KEY_ROWS), kind)

    def best(
        self, queries: np.ndarray, rows: np.ndarray, offsets: np.ndarray, where: np.ndarray, products: np.ndarray, sign: int = 1
    ) -> None:
        """Find the best keys of at most ``QUERY_ROWS`` queries.

        Args:
            queries: shape (n, d).
            rows: number of each query, int64.
            offsets: subtracted from the products of each query, shape (n,).
            where: gets positions of keys, int64 (n, k); -1 if fewer than k keys accept the query.
            products: gets products less offsets (n, k), -inf for no key.
            sign: 1 ranks by products, 0 by absolute products.
        """
        self.queries[: len(queries)] = queries
        self.queries[len(queries) :] = 0
        where[:], products[:] = -1, -np.inf
        for number, block in enumerate(self.blocks):
            np.matmul(self.queries, block.T, out=self.products)
            if sign == 0:
                np.abs(self.products, out=self.products)
            first = number * KEY_ROWS
            part = slice(first, min(first + KEY_ROWS, self.number))
            count = part.stop - first
            _scan(
                self.products, first, count, rows, offsets, self.key_offsets[part], self.held[part], self.holders[part],
                where, products,
            )  # fmt: skip


def best_matches(
    queries: np.ndarray,
    keys: np.ndarray,
    top_k: int,
    threads: int,
    *,
    rows: np.ndarray | None = None,
    query_offsets: np.ndarray | None = None,
    key_offsets: np.ndarray | None = None,
    held: np.ndarray | None = None,
    holders: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each query the ``top_k`` keys of greatest dot product, less offsets.

    Memory beyond the arguments and the result is threads * (``QUERY_ROWS`` * (``KEY_ROWS`` + d)) numbers; |queries| x |keys|
    products are never stored.

    Args:
        queries: float32 or float64, shape (n, d).
        keys: same type, shape (m, d), m > 0.
        top_k: keys per query.
        threads: number of threads; the result does not depend on it.
        rows: positions of the queries to compare, int64; all by default.
        query_offsets: subtracted from the products of each query, shape (n,), same type.
        key_offsets: subtracted from the products with each key, shape (m,), same type.
        held: each key accepts only products (less offsets) greater than this, shape (m,), same type.
        holders: queries that hold the keys, int64 (m,): with a product equal to ``held``, an earlier query is accepted.

    Returns:
        Positions int64 and products less offsets, both (number of rows, top_k), best first, ties in key order; -1 and -inf if
        there are fewer keys.
    """
    rows = np.arange(len(queries)) if rows is None else rows
    query_offsets = np.zeros(len(queries), queries.dtype) if query_offsets is None else query_offsets
    key_offsets = np.zeros(len(keys), keys.dtype) if key_offsets is None else key_offsets
    blocks = blocks_of(keys)
    where = np.empty((len(rows), top_k), np.int64)
    products = np.empty((len(rows), top_k), queries.dtype)
    own = local()

    def work(start: int, end: int) -> None:
        if not hasattr(own, "scanner"):
            own.scanner = Scanner(blocks, len(keys), key_offsets, held, holders)
        part = rows[start:end]
        own.scanner.best(queries[part], part, query_offsets[part], where[start:end], products[start:end])

    for _ in in_blocks(len(rows), work, threads, "compared"):
        pass
    return where, products


def neighbor_means(queries: np.ndarray, keys: np.ndarray, neighbors: int, threads: int) -> np.ndarray:
    """Return each query's mean product with its nearest keys, shape (n,).

    It is r of CSLS (Conneau et al. 2018, section 2.3).
    """
    _, products = best_matches(queries, keys, min(neighbors, len(keys)), threads)
    return products.mean(axis=1, dtype=np.float64).astype(queries.dtype)
