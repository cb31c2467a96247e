"""The alignment matrix A: weights of source tokens for each target token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from tokalign.alignment.fills import FILLS
from tokalign.common.arrays import read_tensors, write_tensors
from tokalign.common.errors import ArtifactError
from tokalign.common.files import atomic_file

TENSORS = {
    "indptr": ("int64", 1),
    "indices": ("int32", 1),
    "data": ("float32", 1),
    "fill": ("int8", 1),
    "ordinary": ("bool", 1),
}
"""Arrays of the matrix file: type and number of dimensions."""


OUTPUT = {"output_data": ("float32", 1)}
"""Array that exists only if the LM head has separate weights."""


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
class Alignment:
    """How target tokens are composed of source tokens.

    Attributes:
        matrix: CSR, float32, shape (|V_target|, |V_source|); rows are empty where ``fill`` is not 0. Explicit zeros count
            as entries, so that ``output`` can have the same pattern.
        categories: one of ``categories.CATEGORIES`` for each target id.
        scores: float32 for each target id, NaN for none.
        fill: code of ``fills.FILLS`` for each target id, int8; 0 for rows of the matrix.
        ordinary: whether each source token is of kind text or byte, bool, shape (|V_source|,); fills are made of these.
        output: the matrix of the LM head if its weights differ, same pattern as ``matrix``; ``None``: the same matrix.
        seed: seed of the rows that are drawn when a model is initialized.
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
    """The part of an ``Alignment`` that an initialization reads."""

    matrix: sparse.csr_matrix
    output: sparse.csr_matrix | None
    fill: np.ndarray
    ordinary: np.ndarray
    seed: int


def write_alignment(alignment: Alignment, matrix_path: Path, table_path: Path, metadata: dict[str, Any]) -> None:
    """Write the matrix as safetensors and the table as Parquet.

    Args:
        alignment: the alignment.
        matrix_path: gets ``indptr`` int64, ``indices`` int32, ``data`` float32, ``fill`` int8 (a code per target id),
            ``ordinary`` bool (per source id) and, if the LM head has separate weights, ``output_data`` float32 with
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
    """Read the input embedding's matrix; rows that the initialization fills are empty.

    Raises:
        ArtifactError: as ``read_alignment``.
    """
    return read_alignment(path).matrix


def read_alignment(path: str | Path) -> StoredAlignment:
    """Read what an initialization needs of an alignment.

    Raises:
        ArtifactError: the file is missing, truncated, or its parts do not fit together.
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
        raise ArtifactError(f"{path}: not a readable alignment matrix", found=error, mend=mend) from error
    for matrix in matrices:
        if not np.isfinite(matrix.data).all():
            row = int(np.searchsorted(matrix.indptr, np.flatnonzero(~np.isfinite(matrix.data))[0], side="right")) - 1
            raise ArtifactError(f"{path}: the row of target token {row} is not finite", expected="finite weights", mend=mend)
    fill, ordinary, shape = tensors["fill"], tensors["ordinary"], tuple(metadata["shape"])
    if (len(fill), len(ordinary)) != shape:
        found = f"{len(fill)} fill codes, {len(ordinary)} source tokens"
        raise ArtifactError(f"{path}: the arrays do not belong together", found=found, expected=f"{shape}", mend=mend)
    wrong = ((np.diff(tensors["indptr"]) == 0) != (fill != FILLS["none"])) | ~np.isin(fill, list(FILLS.values()))
    if wrong.any():
        row = int(wrong.argmax())
        found = f"{tensors['indptr'][row + 1] - tensors['indptr'][row]} source tokens and the fill code {fill[row]}"
        raise ArtifactError(
            f"{path}: the row of target token {row} is not defined",
            found=found,
            expected=f"source tokens, or one of the fill codes {FILLS}",
            mend=mend,
        )
    return StoredAlignment(matrices[0], matrices[1] if len(matrices) == 2 else None, fill, ordinary, metadata["seed"])


def heaviest_sources(matrix: sparse.csr_matrix) -> np.ndarray:
    """Return each row's source id of greatest weight (smallest if tied), -1 if empty; int64."""
    lengths = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), lengths)
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    heaviest = np.full(matrix.shape[0], -1, np.int64)
    heaviest[lengths > 0] = matrix.indices[order[matrix.indptr[:-1][lengths > 0]]]
    return heaviest
