"""Rows of a new embedding, computed block by block from the rows of the old one.

A row function takes target ids and returns their rows; steps change these rows one after the other. A step knows the ids of
its rows, and its result for a row depends on that row alone, so the block size does not change the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from transformers import PretrainedConfig

from tokalign.alignment.fills import FILLS, fill_block, moments
from tokalign.alignment.matrix import StoredAlignment
from tokalign.alignment.table import TWINS
from tokalign.common.errors import ArtifactError
from tokalign.config.alignments import InitializationSettings
from tokalign.initialization.ablations import WHOLE_ROWS

RowFunction = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Maps target ids, shape (n,), to their rows, float32, shape (n, d), or (n,) for a bias."""

Step = Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[np.float32]]
"""Maps target ids and their current rows to new rows; may change the array in place."""

BLOCK_BYTES = 8 << 20
"""Size of a block of rows in float32."""

DRAWN_ROWS = 256
"""Fresh rows are drawn in groups of this many ids, each with its own generator."""


class SourceRows:
    """Rows of a stored matrix as float32, read on demand.

    Args:
        tensor: shape (rows, d), or (rows,) for a bias; may be mapped from a file.
    """

    def __init__(self, tensor: torch.Tensor):
        """Take the tensor; nothing is read."""
        self.tensor = tensor
        self.shape = tuple(tensor.shape)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows of the given ids as a new float32 array."""
        return self.tensor[torch.from_numpy(np.ascontiguousarray(ids, np.int64))].to(torch.float32).numpy()


def combined(matrix: sparse.csr_matrix, source: SourceRows) -> RowFunction:
    """Return the row function of A @ E, computed in float32.

    Args:
        matrix: A, shape (|V_target|, |V_source|), float32.
        source: E, at least |V_source| rows; rows beyond the source tokenizer are padding.
    """

    def rows(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        part = matrix[ids]
        used, columns = np.unique(part.indices, return_inverse=True)
        compact = sparse.csr_matrix((part.data, columns, part.indptr), shape=(len(ids), len(used)))
        return compact @ source[used]

    return rows


def followed(first: RowFunction, steps: Sequence[Step]) -> RowFunction:
    """Return a row function that applies steps to its rows in this order."""

    def rows(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        made = first(ids)
        for step in steps:
            made = step(ids, made)
        return made

    return rows


def filling(fill: NDArray[np.int8], of_source: tuple[np.ndarray, np.ndarray], seed: int, stream: int) -> Step:
    """Return the step that fills the rows for which the alignment gives no source rows.

    Args:
        fill: a code of ``fills.FILLS`` for each target id.
        of_source: mean and standard deviation of the source rows (``fills.moments``).
        seed: seed of the alignment.
        stream: random stream of the matrix, as in ``fills.fill_block``.
    """

    def step(ids: NDArray[np.int64], rows: NDArray[np.float32]) -> NDArray[np.float32]:
        fill_block(rows, ids, fill[ids], of_source, seed, stream)
        return rows

    return step


def source_lengths(source: SourceRows, count: int) -> NDArray[np.float64]:
    """Return the Euclidean lengths of the first ``count`` rows, float64, shape (count,)."""
    step = block_rows(source.shape)
    blocks = (np.arange(start, min(start + step, count)) for start in range(0, count, step))
    return np.concatenate([np.linalg.norm(source[ids].astype(np.float64), axis=1) for ids in blocks])


def wanted_lengths(
    how: str, matrix: sparse.csr_matrix, source: SourceRows, ordinary: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Return the wanted length of each new row.

    Args:
        how: ``mean`` or ``median`` (of the ordinary source rows, the same for all), ``pieces`` (the mean length of the source
            rows that make up the row, weighted by the absolute values of their weights) or ``none``.
        matrix: A.
        source: E.
        ordinary: source tokens that stand for bytes of text, bool, shape (|V_source|,).

    Returns:
        float64, shape (|V_target|,), NaN for rows without a source; ``None`` for ``none``.
    """
    if how == "none":
        return None
    lengths = source_lengths(source, matrix.shape[1])
    if how == "pieces":
        weights = abs(matrix).astype(np.float64)
        total = np.asarray(weights.sum(axis=1)).ravel()
        return np.divide(weights @ lengths, total, out=np.full(len(total), np.nan), where=total > 0)
    statistic = np.mean if how == "mean" else np.median
    return np.full(matrix.shape[0], statistic(lengths[ordinary]))


def rescaling(chosen: NDArray[np.bool_], lengths: NDArray[np.float64] | None, factor: float) -> Step:
    """Return the step that rescales some rows, keeping their direction.

    Args:
        chosen: which target ids, bool, shape (|V_target|,).
        lengths: wanted Euclidean lengths, float64, shape (|V_target|,); ``None`` or NaN keeps a row's own.
        factor: applied to the length afterwards.
    """

    def step(ids: NDArray[np.int64], rows: NDArray[np.float32]) -> NDArray[np.float32]:
        picked = np.flatnonzero(chosen[ids])
        factors = np.full(len(picked), factor, np.float64)
        if lengths is not None:
            own, wanted = np.linalg.norm(rows[picked].astype(np.float64), axis=1), lengths[ids[picked]]
            known = (own > 0) & np.isfinite(wanted)
            factors[known] *= wanted[known] / own[known]
        rows[picked] *= factors[:, None].astype(np.float32)
        return rows

    return step


def replacing(ids: NDArray[np.int64], replacement: NDArray[np.float32]) -> Step:
    """Return the step that replaces some rows.

    Args:
        ids: target ids, int64, shape (n,), ascending.
        replacement: their rows, float32, shape (n, d).
    """

    def step(wanted: NDArray[np.int64], rows: NDArray[np.float32]) -> NDArray[np.float32]:
        places = np.searchsorted(ids, wanted)
        places[places == len(ids)] = 0
        there = np.flatnonzero(ids[places] == wanted) if len(ids) else np.zeros(0, np.int64)
        rows[there] = replacement[places[there]]
        return rows

    return step


def shifting(bias: NDArray[np.float32], direction: NDArray[np.float32]) -> Step:
    """Return the step that adds a bias along a direction to each row.

    Args:
        bias: float32, shape (|V_target|,).
        direction: float32, shape (d,).
    """

    def step(ids: NDArray[np.int64], rows: NDArray[np.float32]) -> NDArray[np.float32]:
        rows += bias[ids, None] * direction
        return rows

    return step


def drawn(width: int | None, std: float, seed: int, stream: int) -> RowFunction:
    """Return a row function of draws from N(0, std), the distribution that a model's weights are initialized from.

    Args:
        width: d, or ``None`` for a bias, whose fresh entries are 0.
        std: ``initializer_range`` of the model's configuration.
        seed: seed of the draws; a token's row depends on seed, stream and id alone.
        stream: a different number for each matrix of a model.
    """

    def rows(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if width is None:
            return np.zeros(len(ids), np.float32)
        made = np.empty((len(ids), width), np.float32)
        for group in np.unique(ids // DRAWN_ROWS).tolist():
            generator = np.random.Generator(np.random.PCG64([seed, stream, group]))
            draws = generator.standard_normal((DRAWN_ROWS, width), dtype=np.float32)
            members = np.flatnonzero(ids // DRAWN_ROWS == group)
            made[members] = std * draws[ids[members] % DRAWN_ROWS]
        return made

    return rows


def kept_by_id(source: SourceRows, fresh: RowFunction) -> RowFunction:
    """Return a row function that keeps source rows by id and draws rows of further ids."""

    def rows(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        made = fresh(ids)
        old = np.flatnonzero(ids < len(source))
        made[old] = source[ids[old]]
        return made

    return rows


def block_rows(shape: tuple[int, ...]) -> int:
    """Return the number of rows per block of a matrix of this shape."""
    return max(1, BLOCK_BYTES // (4 * (shape[1] if len(shape) > 1 else 1)))


def row_bytes(
    rows: RowFunction, shape: tuple[int, ...], padded_rows: int, dtype: torch.dtype, where: str
) -> Iterator[NDArray[np.uint8]]:
    """Yield the bytes of a new matrix, block by block, followed by its padding rows.

    Padding rows are the mean of all rows, so that their logit is the mean of all logits: it is never the highest one, and as
    exp is convex, a padding row has a probability of at most 1/|V_target| (Hewitt 2021, initializing new word embeddings).
    Rows of zeros would have logit 0, which exceeds all others in a model such as GPT-2, whose logits are negative.

    Args:
        rows: row function.
        shape: (|V_target|, d), or (|V_target|,) for a bias.
        padded_rows: number of padding rows.
        dtype: type of the stored rows.
        where: name of the tensor and its file, for error messages.

    Yields:
        uint8, shape (bytes of a block,).

    Raises:
        ArtifactError: a row is not finite in this type.
    """
    total = np.zeros(shape[1:], np.float64)
    step = block_rows(shape)
    for start in range(0, shape[0], step):
        ids = np.arange(start, min(start + step, shape[0]))
        stored = torch.from_numpy(np.ascontiguousarray(rows(ids))).to(dtype)
        wrong = ~torch.isfinite(stored).reshape(len(ids), -1).all(dim=1)
        if wrong.any():
            raise ArtifactError(
                f"{where}: the new row of token {start + int(wrong.int().argmax())} is not finite as {dtype}",
                mend="check the source model for such rows, and `scale` and `norm_matching` of the initialization",
            )
        total += stored.sum(dim=0, dtype=torch.float64).numpy()
        yield _bytes(stored)
    if padded_rows:
        mean = torch.from_numpy(np.asarray(total / shape[0])).to(dtype)
        yield _bytes(mean.expand(padded_rows, *shape[1:]))


def _bytes(tensor: torch.Tensor) -> NDArray[np.uint8]:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


INPUT, OUTPUT, BIAS = 0, 1, 2
"""Random streams, one per matrix."""


def initial_std(config: PretrainedConfig) -> float:
    """Return the standard deviation with which transformers initializes a model's weights (``_init_weights``)."""
    text = config.get_text_config()
    names = ("initializer_range", "init_std", "initializer_factor")
    return next((float(value) for name in names if (value := getattr(text, name, None))), 0.02)


def one_matrix(first: sparse.csr_matrix, last: sparse.csr_matrix, which: str) -> sparse.csr_matrix:
    """Return the matrix for tied embeddings.

    Args:
        first: A of the input embedding.
        last: A of the LM head.
        which: ``input``, ``output`` or ``mean`` of both.
    """
    if first is last or which == "input":
        return first
    return last if which == "output" else sparse.csr_matrix((first + last) * np.float32(0.5))


def free_rows(fill: NDArray[np.int8], categories: NDArray[np.str_] | None, replaced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows may be rescaled: those made of source rows, except copies of the same token's row.

    Args:
        fill: codes of ``fills.FILLS``, shape (|V_target|,).
        categories: how each row was found, shape (|V_target|,).
        replaced: rows that an ablation replaced, whose category no longer applies.

    Raises:
        ArtifactError: categories are missing, or their number differs from the number of rows.
    """
    if categories is None or len(categories) != len(fill):
        raise ArtifactError(
            "the table of tokens does not belong to the alignment",
            found="no table" if categories is None else f"{len(categories)} rows",
            expected=f"{len(fill)} rows",
            mend="give tokens.parquet from beside the matrix; make both again if they do not fit",
        )
    return (fill == FILLS["none"]) & (~np.isin(categories, TWINS) | replaced)


def row_function(
    source: SourceRows,
    matrix: sparse.csr_matrix,
    alignment: StoredAlignment,
    free: NDArray[np.bool_] | None,
    settings: InitializationSettings,
    std: float,
    stream: int,
) -> RowFunction:
    """Return the row function of one matrix; add further corrections as steps at the end.

    Args:
        source: E, H, or the bias of the LM head.
        matrix: A for this matrix.
        alignment: its fills, ordinary source tokens and seed.
        free: rows that may be rescaled, bool, shape (|V_target|,), or ``None`` if none are.
        settings: settings of the initialization.
        std: standard deviation of fresh rows.
        stream: ``INPUT``, ``OUTPUT`` or ``BIAS``; entries of a bias are not rescaled.
    """
    kind, width = settings.ablation.kind, source.shape[1] if len(source.shape) > 1 else None
    if kind in WHOLE_ROWS:
        fresh = drawn(width, std, settings.ablation.seed, stream)
        return fresh if kind == "random_all" else kept_by_id(source, fresh)
    steps: list[Step] = []
    if alignment.fill.any():
        steps.append(filling(alignment.fill, moments(source, alignment.ordinary), alignment.seed, stream))
    if free is not None and stream != BIAS:
        lengths = wanted_lengths(settings.norm_matching, matrix, source, alignment.ordinary)
        steps.append(rescaling(free, lengths, settings.scale.input if stream == INPUT else settings.scale.output))
    return followed(combined(matrix, source), steps)
