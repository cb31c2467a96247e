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
from tokalign.fills import FILLS
from tokalign.tensors import read_tensors, write_tensors
from tokalign.vectors import Vectors
from tokalign.vocabulary import Vocabulary

log = logging.getLogger(__name__)

TENSORS = {
    "indptr": ("int64", 1),
    "indices": ("int32", 1),
    "data": ("float32", 1),
    "fill": ("int8", 1),
    "ordinary": ("bool", 1),
}
"""The arrays of the matrix's file: type and number of dimensions."""

OUTPUT = {"output_data": ("float32", 1)}
"""An array that is there only where the LM head has weights of its own."""

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
        sources: source ids, int64; one that comes twice in a row counts twice.
        weights: of the source ids, float32, finite; most methods make them sum to 1 in a row.
        category: how these rows were found, one of ``categories.CATEGORIES`` for all, or a string array with one for each.
        scores: float32, shape (n,), NaN where there is none.
        output_weights: of the same source ids for the LM head, float32, where they differ; ``None``: the same.
        fill: code of ``fills.FILLS`` for rows that have no source ids.
    """

    ids: np.ndarray
    indptr: np.ndarray
    sources: np.ndarray
    weights: np.ndarray
    category: str | np.ndarray
    scores: np.ndarray
    output_weights: np.ndarray | None = None
    fill: int = FILLS["none"]

    @classmethod
    def single(cls, ids: np.ndarray, sources: np.ndarray, category: str | np.ndarray, scores: np.ndarray | None = None) -> Rows:
        """Return rows with a single 1 each."""
        n = len(ids)
        scores = np.full(n, np.nan, np.float32) if scores is None else scores.astype(np.float32)
        indptr = np.arange(n + 1, dtype=np.int64)
        return cls(np.asarray(ids, np.int64), indptr, np.asarray(sources, np.int64), np.ones(n, np.float32), category, scores)

    @classmethod
    def filled(cls, ids: np.ndarray, name: str) -> Rows:
        """Return empty rows that the initialisation fills; ``name`` of ``fills.FILLS`` is their category, too."""
        n = len(ids)
        nothing, scores = np.empty(0, np.int64), np.full(n, np.nan, np.float32)
        indptr = np.zeros(n + 1, np.int64)
        return cls(np.asarray(ids, np.int64), indptr, nothing, nothing.astype(np.float32), name, scores, fill=FILLS[name])


Method = Callable[[Side, Side, np.ndarray, dict[str, Any]], Rows]
"""A method: (target, source, target ids still without a row, settings of the alignment block) -> rows for some of them."""


@dataclass(frozen=True)
class Alignment:
    """How target tokens are made of source tokens.

    Attributes:
        matrix: CSR, float32, shape (|V_target|, |V_source|); rows are empty where ``fill`` is not 0. Explicit zeros count
            as entries, so that ``output`` can have the same pattern.
        categories: one of ``categories.CATEGORIES`` for each target id.
        scores: float32 for each target id, NaN where there is none.
        fill: code of ``fills.FILLS`` for each target id, int8; 0 for rows of the matrix.
        ordinary: whether each source token is of kind text or byte, bool, shape (|V_source|,); fills are made of these.
        output: the matrix of the LM head where its weights differ, same pattern as ``matrix``; ``None``: the same matrix.
        seed: of the rows that are drawn when a model is initialised.
    """

    matrix: sparse.csr_matrix
    categories: np.ndarray
    scores: np.ndarray
    fill: np.ndarray
    ordinary: np.ndarray
    output: sparse.csr_matrix | None = None
    seed: int = 0


@dataclass(frozen=True)
class StoredAlignment:
    """What an initialisation reads; the attributes are those of ``Alignment``."""

    matrix: sparse.csr_matrix
    output: sparse.csr_matrix | None
    fill: np.ndarray
    ordinary: np.ndarray
    seed: int


def ordinary_tokens(vocabulary: Vocabulary) -> np.ndarray:
    """Return whether each token stands for bytes of a text (kind text or byte), bool, shape (|V|,)."""
    return np.array([kind in ("text", "byte") for kind in vocabulary.kinds], dtype=bool)


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
    fill = np.zeros(size, dtype=np.int8)
    parts: list[Rows] = []
    for name, method in methods.items():
        rows = method(target, source, open_ids, settings)
        empty = np.diff(rows.indptr) == 0
        if (empty != (rows.fill != FILLS["none"])).any():
            raise ValueError(f"the method {name} gave rows without source tokens, or a fill code for rows with some")
        parts.append(rows)
        categories[rows.ids] = rows.category
        scores[rows.ids] = rows.scores
        fill[rows.ids] = rows.fill
        open_ids = np.setdiff1d(open_ids, rows.ids, assume_unique=True)
        log.info("%s: %d of %d tokens, %d left", name, len(rows.ids), size, len(open_ids))
    if len(open_ids):
        first = int(open_ids[0])
        raise ConfigurationError(
            f"alignments: {len(open_ids)} target tokens were found by none of the methods {', '.join(methods)}",
            found=f"for instance id {first}, {target.vocabulary.tokens[first]!r}",
            mend="append 'decomposed' or 'random' to `methods` of this alignment",
        )
    matrix, output = assemble(parts, (size, source.vocabulary.size))
    ordinary = ordinary_tokens(source.vocabulary)
    return Alignment(matrix, categories.astype(str), scores, fill, ordinary, output, settings["seed"])


def assemble(parts: list[Rows], shape: tuple[int, int]) -> tuple[sparse.csr_matrix, sparse.csr_matrix | None]:
    """Put the rows of several methods together; weights of one source token in one row are added, zeros kept.

    Args:
        parts: rows of different target ids.
        shape: (|V_target|, |V_source|).

    Returns:
        The matrix, and that of the LM head with the same pattern, or ``None`` if no method gave weights for it.
    """
    rows = np.concatenate([np.repeat(part.ids, np.diff(part.indptr)) for part in parts])
    sources = np.concatenate([part.sources for part in parts])
    order = np.lexsort((sources, rows))
    rows, sources = rows[order], sources[order]
    first = np.flatnonzero(np.r_[True, (np.diff(rows) != 0) | (np.diff(sources) != 0)][: len(rows)])
    indptr = np.searchsorted(rows[first], np.arange(shape[0] + 1))

    def matrix(weights: list[np.ndarray]) -> sparse.csr_matrix:
        ordered = np.concatenate(weights).astype(np.float64)[order]
        data = (np.add.reduceat(ordered, first) if len(first) else ordered).astype(np.float32)
        return sparse.csr_matrix((data, sources[first], indptr), shape=shape)

    both = [part.weights if part.output_weights is None else part.output_weights for part in parts]
    differs = any(part.output_weights is not None for part in parts)
    return matrix([part.weights for part in parts]), matrix(both) if differs else None


def write_alignment(alignment: Alignment, matrix_path: Path, table_path: Path, metadata: dict[str, Any]) -> None:
    """Write the matrix as safetensors and the table as Parquet.

    Args:
        alignment: to write.
        matrix_path: gets ``indptr`` int64, ``indices`` int32, ``data`` float32, ``fill`` int8 (a code per target id),
            ``ordinary`` bool (per source id) and, where the LM head has weights of its own, ``output_data`` float32 on
            the same pattern; the shape, the seed and ``metadata`` are in the header.
        table_path: gets a row per target id: ``id``, ``category``, ``score``, ``sources``, ``weights``.
        metadata: recorded in the header as JSON.
    """
    matrix = alignment.matrix
    tensors = {
        "indptr": matrix.indptr.astype(np.int64),
        "indices": matrix.indices.astype(np.int32),
        "data": matrix.data.astype(np.float32),
        "fill": alignment.fill.astype(np.int8),
        "ordinary": alignment.ordinary.astype(bool),
    }
    if alignment.output is not None:
        tensors["output_data"] = alignment.output.data.astype(np.float32)
    header = {"shape": list(matrix.shape), "seed": alignment.seed, "metadata": metadata}
    write_tensors(matrix_path, tensors, header)
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
    """Read an alignment's matrix for the input embedding; its rows are empty where the initialisation fills them.

    Raises:
        ArtefactError: as ``read_alignment``.
    """
    return read_alignment(path).matrix


def read_alignment(path: str | Path) -> StoredAlignment:
    """Read all that an initialisation needs of an alignment.

    Raises:
        ArtefactError: the file is missing, truncated, or its parts do not fit together.
    """
    tensors, metadata = read_tensors(path, TENSORS, ("shape", "seed"), optional=OUTPUT)
    mend = "delete it and run again"
    names = [name for name in ("data", "output_data") if name in tensors]
    try:
        matrices = [
            sparse.csr_matrix((tensors[name], tensors["indices"], tensors["indptr"]), shape=tuple(metadata["shape"]))
            for name in names
        ]
        for matrix in matrices:
            matrix.check_format(full_check=True)
    except ValueError as error:
        raise ArtefactError(f"{path}: not a readable alignment matrix", found=error, mend=mend) from error
    for matrix in matrices:
        if not np.isfinite(matrix.data).all():
            row = int(np.searchsorted(matrix.indptr, np.flatnonzero(~np.isfinite(matrix.data))[0], side="right")) - 1
            raise ArtefactError(f"{path}: the row of target token {row} is not finite", expected="finite weights", mend=mend)
    fill, ordinary, shape = tensors["fill"], tensors["ordinary"], tuple(metadata["shape"])
    if (len(fill), len(ordinary)) != shape:
        found = f"{len(fill)} fill codes, {len(ordinary)} source tokens"
        raise ArtefactError(f"{path}: the arrays do not belong together", found=found, expected=f"{shape}", mend=mend)
    wrong = ((np.diff(tensors["indptr"]) == 0) != (fill != FILLS["none"])) | ~np.isin(fill, list(FILLS.values()))
    if wrong.any():
        row = int(wrong.argmax())
        found = f"{tensors['indptr'][row + 1] - tensors['indptr'][row]} source tokens and the fill code {fill[row]}"
        raise ArtefactError(
            f"{path}: the row of target token {row} is not defined",
            found=found,
            expected=f"source tokens, or one of the fill codes {FILLS}",
            mend=mend,
        )
    return StoredAlignment(matrices[0], matrices[1] if len(matrices) == 2 else None, fill, ordinary, metadata["seed"])


def heaviest_sources(matrix: sparse.csr_matrix) -> np.ndarray:
    """Return the source id of greatest weight of each row, the smallest of equal ones, -1 for empty rows; int64."""
    lengths = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), lengths)
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    heaviest = np.full(matrix.shape[0], -1, np.int64)
    heaviest[lengths > 0] = matrix.indices[order[matrix.indptr[:-1][lengths > 0]]]
    return heaviest
