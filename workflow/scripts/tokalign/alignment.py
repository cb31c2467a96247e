"""The alignment: a sparse matrix from source to target vocabulary, and how each of its rows was found."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from tokalign.errors import ArtefactError, ConfigurationError, InputError
from tokalign.files import atomic_file
from tokalign.tensors import read_tensors, write_tensors
from tokalign.vectors import Vectors
from tokalign.vocabulary import Vocabulary

log = logging.getLogger(__name__)

TENSORS = {"indptr": ("int64", 1), "indices": ("int32", 1), "data": ("float32", 1)}
"""The arrays of the matrix's file: type and number of dimensions."""

TABLE = pa.schema(
    [
        ("id", pa.int32()),
        ("category", pa.string()),
        ("score", pa.float32()),
        ("sources", pa.list_(pa.int32())),
        ("weights", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Side:
    """One side of an alignment.

    Attributes:
        vocabulary: canonical bytes, kinds and roles of all ids.
        tokenizer: the fast tokenizer itself.
        vectors: of its tokens; ``None`` if no method of the list reads them.
    """

    vocabulary: Vocabulary
    tokenizer: Any
    vectors: Vectors | None = None


@dataclass(frozen=True)
class Rows:
    """What a method found: rows of A for some target tokens.

    Attributes:
        ids: target ids, int64, shape (n,).
        indptr: where each row begins in ``sources``, int64, shape (n + 1,).
        sources: source ids, int64.
        weights: of the source ids, float32; they sum to 1 in a row.
        category: how these rows were found, one of ``categories.CATEGORIES``.
        scores: float32, shape (n,), NaN where there is none.
    """

    ids: np.ndarray
    indptr: np.ndarray
    sources: np.ndarray
    weights: np.ndarray
    category: str
    scores: np.ndarray

    @classmethod
    def single(cls, ids: np.ndarray, sources: np.ndarray, category: str, scores: np.ndarray | None = None) -> Rows:
        """Return rows with a single 1 each."""
        n = len(ids)
        scores = np.full(n, np.nan, np.float32) if scores is None else scores.astype(np.float32)
        indptr = np.arange(n + 1, dtype=np.int64)
        return cls(np.asarray(ids, np.int64), indptr, np.asarray(sources, np.int64), np.ones(n, np.float32), category, scores)


Method = Callable[[Side, Side, np.ndarray, dict[str, Any]], Rows]
"""A method: (target, source, target ids still without a row, settings of the alignment block) -> rows for some of them."""


@dataclass(frozen=True)
class Alignment:
    """How target tokens are made of source tokens.

    Attributes:
        matrix: CSR, float32, shape (|V_target|, |V_source|); every row sums to 1.
        categories: one of ``categories.CATEGORIES`` for each target id.
        scores: float32 for each target id, NaN where there is none.
    """

    matrix: sparse.csr_matrix
    categories: np.ndarray
    scores: np.ndarray


def check_different(target: Vocabulary, source: Vocabulary, where: str) -> None:
    """Check that the vocabularies of two tokenizers are not the same one under two names or paths.

    Raises:
        InputError: every id stands for the same bytes on both sides.
    """
    if target.token_bytes == source.token_bytes:
        raise InputError(
            f"{where}: the tokenizer that the model shall get has the vocabulary that the model already has",
            found=f"the same {target.size} tokens with the same ids",
            expected="another vocabulary",
            mend="name another tokenizer in the experiment, or another source in its tokenizer block",
        )


def align(target: Side, source: Side, methods: dict[str, Method], settings: dict[str, Any]) -> Alignment:
    """Ask each method in turn about the target tokens that have no row yet.

    Args:
        target: the vocabulary that gets rows.
        source: the vocabulary whose rows are used.
        methods: by name, in the order in which they are asked.
        settings: the alignment block of the configuration.

    Returns:
        A row for every target id.

    Raises:
        ConfigurationError: a token was found by none of the methods.
    """
    size = target.vocabulary.size
    open_ids = np.arange(size, dtype=np.int64)
    categories = np.full(size, "", dtype=object)
    scores = np.full(size, np.nan, dtype=np.float32)
    parts: list[sparse.coo_matrix] = []
    for name, method in methods.items():
        rows = method(target, source, open_ids, settings)
        lengths = np.diff(rows.indptr)
        parts.append(
            sparse.coo_matrix((rows.weights, (np.repeat(rows.ids, lengths), rows.sources)), shape=(size, source.vocabulary.size))
        )
        categories[rows.ids] = rows.category
        scores[rows.ids] = rows.scores
        open_ids = np.setdiff1d(open_ids, rows.ids, assume_unique=True)
        log.info("%s: %d of %d tokens, %d left", name, len(rows.ids), size, len(open_ids))
    if len(open_ids):
        first = int(open_ids[0])
        raise ConfigurationError(
            f"alignments: {len(open_ids)} target tokens were found by none of the methods {', '.join(methods)}",
            found=f"for instance id {first}, {target.vocabulary.tokens[first]!r}",
            mend="append 'decomposed' or 'random' to `methods` of this alignment",
        )
    matrix = sparse.csr_matrix(sum(parts[1:], parts[0].tocsr()), dtype=np.float32)
    matrix.sort_indices()
    return Alignment(matrix, categories.astype(str), scores)


def write_alignment(alignment: Alignment, matrix_path: Path, table_path: Path, metadata: dict[str, Any]) -> None:
    """Write the matrix as safetensors and the table as Parquet.

    Args:
        alignment: to write.
        matrix_path: gets ``indptr`` int64, ``indices`` int32, ``data`` float32; the shape and ``metadata`` are in the header.
        table_path: gets a row per target id: ``id``, ``category``, ``score``, ``sources``, ``weights``.
        metadata: recorded in the header as JSON.
    """
    matrix = alignment.matrix
    tensors = {
        "indptr": matrix.indptr.astype(np.int64),
        "indices": matrix.indices.astype(np.int32),
        "data": matrix.data.astype(np.float32),
    }
    write_tensors(matrix_path, tensors, {"shape": list(matrix.shape), "metadata": metadata})
    offsets = pa.array(matrix.indptr.astype(np.int32))
    scores = pa.array(alignment.scores, pa.float32(), from_pandas=True)
    columns = [
        pa.array(np.arange(matrix.shape[0], dtype=np.int32)),
        pa.array(alignment.categories.tolist(), pa.string()),
        scores,
        pa.ListArray.from_arrays(offsets, pa.array(tensors["indices"])),
        pa.ListArray.from_arrays(offsets, pa.array(tensors["data"])),
    ]
    with atomic_file(table_path) as partial:
        pq.write_table(pa.Table.from_arrays(columns, schema=TABLE), partial, compression="zstd")


def read_matrix(path: str | Path) -> sparse.csr_matrix:
    """Read an alignment's matrix.

    Raises:
        ArtefactError: the file is missing, truncated, or its parts do not fit together.
    """
    tensors, metadata = read_tensors(path, TENSORS, ("shape",))
    try:
        matrix = sparse.csr_matrix((tensors["data"], tensors["indices"], tensors["indptr"]), shape=tuple(metadata["shape"]))
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise ArtefactError(f"{path}: not a readable alignment matrix", found=error, mend="delete it and run again") from error
    if not np.isfinite(matrix.data).all():
        row = int(np.searchsorted(matrix.indptr, np.flatnonzero(~np.isfinite(matrix.data))[0], side="right")) - 1
        raise ArtefactError(
            f"{path}: the row of target token {row} is not finite", expected="finite weights", mend="delete it and run again"
        )
    return matrix
