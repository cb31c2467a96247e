"""The file of rows fitted to a model, which an initialization adds to A @ E."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokalign.common.arrays import read_tensors, write_tensors
from tokalign.common.errors import ArtifactError

TENSORS = {
    "ids": ("int64", 1),
    "input": ("float32", 2),
    "output": ("float32", 2),
    "bias": ("float32", 1),
    "direction": ("float32", 1),
}


@dataclass(frozen=True)
class FittedRows:
    """What a fit adds to A @ E.

    Attributes:
        ids: target ids with fitted rows, int64 (n), ascending.
        input: their rows of the input embedding, float32 (n, d).
        output: their rows of the LM head, float32 (n, d); the same if the matrix is shared.
        bias: added along ``direction`` to each row of the LM head, or the shared matrix, float32 (|V_target|).
        direction: float32 (d).
        metadata: ``vocabulary_size``, ``tied``, and how the rows were made.
    """

    ids: NDArray[np.int64]
    input: NDArray[np.float32]
    output: NDArray[np.float32]
    bias: NDArray[np.float32]
    direction: NDArray[np.float32]
    metadata: dict[str, Any]


def write_fitted(path: str | Path, fitted: FittedRows) -> None:
    """Write fitted rows as safetensors."""
    write_tensors(path, {name: getattr(fitted, name) for name in TENSORS}, fitted.metadata)


def read_fitted(path: str | Path) -> FittedRows:
    """Read fitted rows.

    Raises:
        ArtifactError: the file is missing or damaged, its arrays do not fit together, or are not finite.
    """
    tensors, metadata = read_tensors(path, TENSORS, ("vocabulary_size", "tied"))
    n, width = tensors["input"].shape
    size = metadata["vocabulary_size"]
    shapes = {"ids": (n,), "input": (n, width), "output": (n, width), "bias": (size,), "direction": (width,)}
    found = {name: tensors[name].shape for name in TENSORS}
    ids = tensors["ids"]
    if found != shapes or (n and (ids.min() < 0 or ids.max() >= size)):
        raise ArtifactError(f"{path}: arrays that do not fit together", found=found, mend="delete it and run again")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ArtifactError(f"{path}: {name} is not finite", mend="delete it and run again")
    return FittedRows(**tensors, metadata=metadata)
