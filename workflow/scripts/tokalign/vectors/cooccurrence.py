"""Weighted co-occurrence counts of tokens in a window: exact, parallel, in bounded memory.

The counts are those of GloVe's ``cooccur`` (Pennington, Socher and Manning 2014, section 4.2): two tokens of one document
at distance d <= window count 1/d (or 1), in both directions. Tokens that occur fewer than ``min_count`` times are removed
from the stream first, so distances are between kept tokens. Windows do not cross the end of a document.

The weights 1/d are multiples of 1/lcm(1, ..., window), so they are summed as integers. Sums are exact, and the bytes of the
result do not depend on order, chunks, memory or the number of threads.

Rows are computed one by one, as Gustavson (1978) multiplies sparse matrices. The places of each token are listed; a row is
the sum of the windows around its token's places, in one dense accumulator that fits a core's cache. Nothing is sorted and
no pair is stored twice. A corpus that does not fit into memory is counted in chunks, whose rows are stored on disk and then
added up.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tokalign.common.arrays import read_tensors, write_tensors
from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.common.progress import Progress
from tokalign.config.vectors import CountSettings
from tokalign.tokens.counts import count_tokens, kept_tokens
from tokalign.tokens.shards import read_shard

log = logging.getLogger(__name__)

Part = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
"""Consecutive rows: lengths, columns, values."""
Rows = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint64]]
"""The same with sums of integer weights as values."""
Sums = tuple[NDArray[np.int64], Path, Path]
"""Rows of a range in one chunk, on disk: offsets, file of columns (int32), file of sums of integer weights (uint64)."""

PART_ENTRIES = 1 << 20
"""Entries of a part, unless a single row has more."""
RANGES_PER_THREAD = 2
PREFETCH = 16
"""Number of windows prefetched ahead of use: those of a rare token are scattered over the stream."""
GROUP_BITS = 4
"""Columns are marked as touched in groups of 2 ** 4, two cache lines of the accumulator."""
MOST_POSITIONS = (1 << 32) - 1
POSITION_BYTES = 8
"""Memory per position of the stream: its token, and its entry in the list of places."""
SPILLED_BYTES = 12
"""Disk space per entry of a chunk: its column, and its sum of integer weights."""
RESULT_BYTES = 16
"""Memory per non-zero of the result: its column and its value, in parts and then joined."""


@dataclass(frozen=True)
class Cooccurrences:
    """A symmetric matrix over the n kept tokens, frequent tokens first (ties: smaller id first).

    Args:
        indptr: start of each row, int64 (n + 1).
        indices: column of each entry, ascending within a row, int32 (nnz).
        values: weighted count of each entry, positive, float32 (nnz).
        token_ids: token of each row, int32 (n).
        counts: occurrences of each row's token in the corpus, int64 (n).
        vocabulary_size: number of ids of the tokenizer.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    token_ids: NDArray[np.int32]
    counts: NDArray[np.int64]
    vocabulary_size: int


def integer_weights(settings: CountSettings) -> tuple[NDArray[np.uint64], int]:
    """Return integer weights by distance, uint64 (window + 1), and the integer for weight 1.

    Raises:
        ConfigurationError: the window is less than 1, or so large that the integer for 1 exceeds 64 bits.
    """
    window = settings.window
    unit = 1 if settings.weighting == "uniform" else math.lcm(*range(1, window + 1))
    if window < 1 or unit >= 1 << 63:
        raise ConfigurationError("window: out of range", found=window, expected="at least 1, at most about 40")
    return np.array([0] + [unit // d if settings.weighting == "inverse" else 1 for d in range(1, window + 1)], np.uint64), unit


@njit(nogil=True, cache=True)
def _append(ids, offsets, document, rank, window, stream, fill, places):
    """Append documents with gaps to the stream until it is full; count each token.

    Returns the next document and the length of the stream.
    """
    gap = places.size
    while document < offsets.size - 1:
        if fill + offsets[document + 1] - offsets[document] + window > stream.size:
            break
        begin = fill
        for position in range(offsets[document], offsets[document + 1]):
            index = rank[ids[position]]
            if index >= 0:
                stream[fill] = index
                places[index] += 1
                fill += 1
        if fill > begin:
            stream[fill : fill + window] = gap
            fill += window
        document += 1
    return document, fill


@njit(nogil=True, cache=True)
def _list_places(stream, first, last, cursor, listed):
    """List the places of the tokens ``first ... last - 1``, starting at ``cursor``."""
    span = np.uint64(last - first)
    for position in range(stream.size):
        token = np.uint64(np.int64(stream[position]) - first)
        if token < span:
            listed[cursor[token]] = position
            cursor[token] += 1


@intrinsic
def _prefetch(context, array, index):
    """Prefetch the cache line of an element."""

    def generate(context, builder, signature, arguments):
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        line = builder.bitcast(builder.gep(view.data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [line.type, number, number, number])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        builder.call(function, [line, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@njit(nogil=True, cache=True)
def _extract(accumulator, marks, columns, sums, fill):
    """Append the accumulator to a list of entries, clear it, and return the new end."""
    size = accumulator.size - 1
    for group in range(marks.size):
        if marks[group]:
            marks[group] = 0
            for column in range(group << GROUP_BITS, min((group + 1) << GROUP_BITS, size)):
                value = accumulator[column]
                accumulator[column] = 0
                columns[fill] = column
                sums[fill] = value
                fill += value != 0
    accumulator[size] = 0
    return fill


@njit(nogil=True, cache=True)
def _sum_windows(row, last, starts, listed, stream, weights, accumulator, marks, columns, sums, lengths):
    """Sum the windows of tokens from ``row`` on while room lasts; return the next row.

    Unsigned indices avoid checks for negative ones; with the prefetch, this is four times as fast.
    """
    window = weights.size - 1
    size = accumulator.size - 1
    fill = 0
    while row < last:
        places = starts[row + 1] - starts[row]
        if fill + min(size, 2 * window * places) >= columns.size:
            break
        for place in range(starts[row], starts[row + 1]):
            if place + PREFETCH < listed.size:
                ahead = np.int64(listed[place + PREFETCH])
                _prefetch(stream, ahead - window)
                _prefetch(stream, ahead)
                _prefetch(stream, ahead + window)
            position = np.int64(listed[place])
            for distance in range(1, window + 1):
                before = np.uint32(stream[np.uint64(position - distance)])
                accumulator[before] += weights[np.uint64(distance)]
                marks[before >> np.uint32(GROUP_BITS)] = 1
                after = np.uint32(stream[np.uint64(position + distance)])
                accumulator[after] += weights[np.uint64(distance)]
                marks[after >> np.uint32(GROUP_BITS)] = 1
        end = _extract(accumulator, marks, columns, sums, fill)
        lengths[row] = end - fill
        fill = end
        row += 1
    return row


@njit(nogil=True, cache=True)
def _sum_chunks(offsets, chunk_columns, chunk_sums, accumulator, marks, columns, sums, lengths):
    """Add up rows of several chunks.

    Row r of chunk c is at ``offsets[c, r] ... offsets[c, r + 1] - 1``.
    """
    fill = 0
    for row in range(offsets.shape[1] - 1):
        for chunk in range(offsets.shape[0]):
            for entry in range(offsets[chunk, row], offsets[chunk, row + 1]):
                column = chunk_columns[entry]
                accumulator[column] += chunk_sums[entry]
                marks[column >> GROUP_BITS] = 1
        end = _extract(accumulator, marks, columns, sums, fill)
        lengths[row] = end - fill
        fill = end


class _Accumulator:
    """Buffers of a thread that sums rows of ``size`` columns, and one for gaps."""

    def __init__(self, size: int, room: int):
        self.dense = np.zeros(size + 1, np.uint64), np.zeros((size >> GROUP_BITS) + 1, np.uint8)
        self.columns, self.sums = np.empty(room + 1, np.int32), np.empty(room + 1, np.uint64)


def _count_range(
    stream: NDArray[np.int32], places: NDArray[np.int64], weights: NDArray[np.uint64], rows: tuple[int, int]
) -> Iterator[Rows]:
    """Yield a chunk's rows ``first, last`` in parts (views, valid until the next part)."""
    first, last = rows
    starts = np.concatenate([[0], np.cumsum(places[first:last])])
    listed = np.empty(starts[-1], np.uint32)
    _list_places(stream, first, last, starts[:-1].copy(), listed)
    accumulator = _Accumulator(len(places), max(PART_ENTRIES, len(places)))
    lengths = np.zeros(last - first, np.int64)
    row = 0
    while row < last - first:
        begin = row
        row = _sum_windows(
            row, last - first, starts, listed, stream, weights, *accumulator.dense, accumulator.columns, accumulator.sums, lengths
        )
        end = lengths[begin:row].sum()
        yield lengths[begin:row], accumulator.columns[:end], accumulator.sums[:end]


def _read(path: Path, kind: type[np.generic], first: int, last: int) -> NDArray[Any]:
    """Read the elements ``first ... last - 1`` of a file.

    If the file were memory-mapped, all of it would count as memory of the job.
    """
    return np.fromfile(path, kind, count=last - first, offset=first * np.dtype(kind).itemsize)


def _add_range(size: int, chunks: Sequence[Sums]) -> Iterator[Rows]:
    """Yield the rows of a range, summed over chunks, in parts."""
    offsets = np.stack([chunk[0] for chunk in chunks])
    total = offsets.sum(axis=0)
    first = 0
    while first < len(total) - 1:
        last = max(first + 1, int(np.searchsorted(total, total[first] + PART_ENTRIES, side="right")) - 1)
        columns = np.concatenate([_read(path, np.int32, o[first], o[last]) for o, path, _ in chunks])
        sums = np.concatenate([_read(path, np.uint64, o[first], o[last]) for o, _, path in chunks])
        own = offsets[:, first : last + 1] - offsets[:, first, None]
        own += np.concatenate([[0], np.cumsum(own[:-1, -1])])[:, None]
        accumulator = _Accumulator(size, len(columns))
        lengths = np.empty(last - first, np.int64)
        _sum_chunks(own, columns, sums, *accumulator.dense, accumulator.columns, accumulator.sums, lengths)
        end = lengths.sum()
        yield lengths, accumulator.columns[:end], accumulator.sums[:end]
        first = last


def count_cooccurrences(
    paths: Sequence[str | Path], vocabulary_size: int, settings: CountSettings, threads: int, *, scratch: Path | None = None
) -> Cooccurrences:
    """Count the co-occurrences of tokens as GloVe's ``cooccur`` (see the module).

    Args:
        paths: shards of tokens.
        vocabulary_size: number of ids of the tokenizer.
        settings: what to count.
        threads: number of threads; the result does not depend on it.
        scratch: folder for what does not fit into memory; ``None`` for the system's temporary folder.

    Raises:
        ArtifactError: a shard is damaged or holds an id out of range.
        ConfigurationError: the window is out of range, or so large that the exact sums could overflow.
        InputError: no token occurs ``min_count`` times.
    """
    weights, unit = integer_weights(settings)
    counts = count_tokens(paths, vocabulary_size, threads=threads)
    token_ids = kept_tokens(counts, settings.min_count)
    counts_kept = counts[token_ids]
    if 2 * int(counts_kept[0]) * sum(map(int, weights)) >= 1 << 64:
        raise ConfigurationError(
            f"window: too large to count {counts_kept.sum()} tokens exactly", found=settings.window, mend="lower it"
        )
    size, occurrences = len(token_ids), int(counts_kept.sum())
    rank = np.full(vocabulary_size, -1, dtype=np.int32)
    rank[token_ids] = np.arange(size)
    parts = threads * RANGES_PER_THREAD
    inner = np.searchsorted(np.cumsum(counts_kept), occurrences * np.arange(1, parts) // parts) + 1
    ranges = list(itertools.pairwise(np.unique([0, *inner.clip(max=size), size]).tolist()))

    progress = Progress("co-occurrences counted", occurrences, "tokens")
    with tempfile.TemporaryDirectory(prefix="cooccurrences-", dir=scratch) as folder, ThreadPoolExecutor(threads) as pool:
        on_disk: list[list[Sums]] = []
        for stream, places, whole in _chunks(paths, rank, size, settings):
            count = functools.partial(_count_range, stream, places, weights)
            work = functools.partial(_finish, unit, count) if whole else functools.partial(_spill, folder, len(on_disk), count)
            results = []
            for (first, last), result in zip(ranges, pool.map(work, ranges), strict=True):
                progress.advance(int(places[first:last].sum()))
                results.append(result)
            if not whole:
                on_disk.append(results)
        progress.close()
        if on_disk:
            log.info("adding up %d chunks", len(on_disk))
            add = functools.partial(_finish, unit, functools.partial(_add_range, size))
            results = list(pool.map(add, zip(*on_disk, strict=True)))
    return Cooccurrences(*_join(results, size), token_ids, counts_kept, vocabulary_size)


def chunk_positions(memory_gb: float) -> int:
    """Return the stream positions (tokens and gaps) counted at once in some memory [10^9 bytes]."""
    return int(memory_gb * 1e9 / 2 / POSITION_BYTES)


def _chunks(
    paths: Sequence[str | Path], rank: NDArray[np.int32], size: int, settings: CountSettings
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64], bool]]:
    """Yield the stream of kept tokens in chunks of whole documents.

    Yields:
        The stream of ranks, with ``window`` copies of ``size`` before and after each document (valid until the next chunk);
        the number of places of each rank; whether this is the only chunk.
    """
    window = settings.window
    total, longest = window, 0
    for path in paths:
        for batch in read_shard(path):
            total += len(batch.ids) + window * (len(batch.offsets) - 1)
            longest = max(longest, int(np.diff(batch.offsets).max()))
    room = max(chunk_positions(settings.memory_gb), longest + 2 * window)
    stream = np.empty(min(total, room, MOST_POSITIONS), np.int32)
    stream[:window] = size
    places, fill, whole = np.zeros(size, np.int64), window, True
    for path in paths:
        for batch in read_shard(path):
            document = 0
            while True:
                document, fill = _append(batch.ids, batch.offsets, document, rank, window, stream, fill, places)
                if document == len(batch.offsets) - 1:
                    break
                whole = False
                yield stream[:fill], places, whole
                places, fill = np.zeros(size, np.int64), window
    yield stream[:fill], places, whole


def _finish(unit: int, rows_of: Callable[[Any], Iterator[Rows]], argument: Any) -> list[Part]:
    """Convert sums of integers to values."""
    return [(lengths.copy(), columns.copy(), (sums / unit).astype(np.float32)) for lengths, columns, sums in rows_of(argument)]


def _spill(folder: str, chunk: int, rows_of: Callable[[tuple[int, int]], Iterator[Rows]], rows: tuple[int, int]) -> Sums:
    """Write rows of a chunk to two files."""
    paths = [Path(folder, f"{chunk}-{rows[0]}.{kind}") for kind in ("columns", "sums")]
    lengths = [np.zeros(1, np.int64)]
    with paths[0].open("wb") as columns_file, paths[1].open("wb") as sums_file:
        for part, columns, sums in rows_of(rows):
            lengths.append(part.copy())
            columns.tofile(columns_file)
            sums.tofile(sums_file)
    return np.cumsum(np.concatenate(lengths)), *paths


def _join(results: list[list[Part]], size: int) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Join parts into indptr, indices and values; ``results`` is emptied."""
    parts = list(itertools.chain.from_iterable(results))
    results.clear()
    indptr = np.zeros(size + 1, np.int64)
    np.cumsum(np.concatenate([lengths for lengths, _, _ in parts]), out=indptr[1:])
    indices, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    fill = 0
    parts.reverse()
    while parts:
        _, columns, part_values = parts.pop()
        indices[fill : fill + len(columns)] = columns
        values[fill : fill + len(columns)] = part_values
        fill += len(columns)
    return indptr, indices, values


def write_cooccurrences(path: str | Path, cooccurrences: Cooccurrences) -> None:
    """Write a matrix of co-occurrences as safetensors."""
    names = ("indptr", "indices", "values", "token_ids", "counts")
    tensors = {name: getattr(cooccurrences, name) for name in names}
    write_tensors(path, tensors, {"vocabulary_size": cooccurrences.vocabulary_size})


def read_cooccurrences(path: str | Path) -> Cooccurrences:
    """Read a matrix of co-occurrences.

    Raises:
        ArtifactError: the file is missing, damaged, or not such a matrix.
    """
    kinds = {"indptr": "int64", "indices": "int32", "values": "float32", "token_ids": "int32", "counts": "int64"}
    tensors, metadata = read_tensors(path, {name: (kind, 1) for name, kind in kinds.items()}, ("vocabulary_size",))
    result = Cooccurrences(**tensors, vocabulary_size=metadata["vocabulary_size"])
    rows, entries = len(result.token_ids), len(result.indices)
    mend = "delete it and run again"
    if len(result.indptr) != rows + 1 or len(result.counts) != rows or len(result.values) != entries:
        raise ArtifactError(
            f"{path}: the arrays do not belong together",
            found={name: len(tensor) for name, tensor in tensors.items()},
            expected="indptr one longer than token_ids and counts, values as long as indices",
            mend=mend,
        )
    if result.indptr[0] != 0 or result.indptr[-1] != entries or (np.diff(result.indptr) < 0).any():
        raise ArtifactError(f"{path}: row starts do not ascend from 0 to {entries}", mend=mend)
    if entries and not (result.indices.min() >= 0 and result.indices.max() < rows):
        raise ArtifactError(f"{path}: a column out of range", expected=f"0 to {rows - 1}", mend=mend)
    if entries and not (result.values.min() > 0 and result.values.max() < np.inf):
        raise ArtifactError(f"{path}: a value that is not positive and finite", mend=mend)
    return result
