"""Vectors of tokens, and the file that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokalign.common.arrays import read_tensors, write_tensors
from tokalign.common.errors import ArtifactError


@dataclass(frozen=True)
class Vectors:
    """One vector for each kept token.

    Args:
        vectors: float32 (n, dimensions).
        token_ids: token of each vector, int32 (n).
        counts: occurrences of each token in the corpus, int64 (n).
        metadata: how they were made; must contain ``vocabulary_size``, the number of ids of the tokenizer.
    """

    vectors: NDArray[np.float32]
    token_ids: NDArray[np.int32]
    counts: NDArray[np.int64]
    metadata: dict[str, Any]


def write_vectors(path: str | Path, vectors: Vectors) -> None:
    """Write vectors as safetensors.

    Raises:
        ArtifactError: ``read_vectors`` would refuse them.
    """
    check_vectors(vectors, str(path))
    tensors = {"vectors": vectors.vectors, "token_ids": vectors.token_ids, "counts": vectors.counts}
    write_tensors(path, tensors, vectors.metadata)


def read_vectors(path: str | Path) -> Vectors:
    """Read vectors.

    Raises:
        ArtifactError: the file is missing, damaged or wrong (see ``check_vectors``).
    """
    kinds = {"vectors": ("float32", 2), "token_ids": ("int32", 1), "counts": ("int64", 1)}
    tensors, metadata = read_tensors(path, kinds, ("vocabulary_size",))
    vectors = Vectors(**tensors, metadata=metadata)
    check_vectors(vectors, str(path))
    return vectors


def check_vectors(vectors: Vectors, where: str) -> None:
    """Check that vectors exist, are finite, and belong to distinct tokens of the vocabulary.

    Args:
        vectors: vectors to check.
        where: their file, for errors.

    Raises:
        ArtifactError: they do not; names the file, the token and what was expected.
    """
    mend = "delete the file and rerun the step that makes it"
    rows, size = vectors.vectors.shape[0], vectors.metadata["vocabulary_size"]
    if not rows == len(vectors.token_ids) == len(vectors.counts):
        raise ArtifactError(
            f"{where}: the arrays do not belong together",
            found=f"{rows} vectors, {len(vectors.token_ids)} token_ids, {len(vectors.counts)} counts",
            expected="the same number of each",
            mend=mend,
        )
    if vectors.vectors.size == 0:
        shape = vectors.vectors.shape
        raise ArtifactError(f"{where}: no vectors", found=f"shape {shape}", expected="at least one number", mend=mend)
    outside = (vectors.token_ids < 0) | (vectors.token_ids >= size)
    if outside.any():
        token = vectors.token_ids[outside.argmax()]
        raise ArtifactError(f"{where}: token {token} is not in the vocabulary", expected=f"0 to {size - 1}", mend=mend)
    tokens, times = np.unique(vectors.token_ids, return_counts=True)
    if (times > 1).any():
        token = tokens[times.argmax()]
        raise ArtifactError(f"{where}: token {token} has {times.max()} vectors", expected="one for each token", mend=mend)
    wrong = ~np.isfinite(vectors.vectors)
    if wrong.any():
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        raise ArtifactError(
            f"{where}: the vector of token {vectors.token_ids[row]} is not finite",
            found=f"{vectors.vectors[row, column]} in column {column}",
            expected="finite numbers",
            mend=mend,
        )
