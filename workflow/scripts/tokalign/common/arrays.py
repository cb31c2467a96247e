"""Arrays and JSON metadata in one safetensors file, checked when read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tokalign.common.errors import ArtifactError
from tokalign.common.files import atomic_file

METADATA = "tokalign"
"""The only key of the header's metadata: with several keys, their order would differ between runs."""


def write_tensors(path: str | Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write arrays and metadata; equal content gives equal bytes."""
    text = json.dumps(metadata, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic_file(path) as partial:
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, partial, {METADATA: text})


def read_tensors(
    path: str | Path,
    expected: Mapping[str, tuple[str, int]],
    keys: Iterable[str],
    optional: Mapping[str, tuple[str, int]] = MappingProxyType({}),
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the arrays of a file that ``write_tensors`` wrote.

    Args:
        path: the file.
        expected: data type and number of dimensions by array name.
        keys: required keys of the metadata.
        optional: arrays that may also be present.

    Returns:
        The arrays by name, and the metadata.

    Raises:
        ArtifactError: the file is missing, damaged, or has other arrays or metadata.
    """
    mend = "delete it and rerun the step that makes it"
    try:
        with safe_open(str(path), framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = json.loads((file.metadata() or {}).get(METADATA, "{}"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file", mend="run the step that makes it") from error
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise ArtifactError(
            f"{path}: not a readable safetensors file", found=error, expected="a complete file", mend=mend
        ) from error
    found = {name: (str(tensor.dtype), tensor.ndim) for name, tensor in tensors.items()}
    if found != dict(expected) | {name: optional[name] for name in optional if name in found}:
        raise ArtifactError(f"{path}: other arrays (type, dimensions)", found=found, expected=str(expected), mend=mend)
    if not set(keys) <= set(metadata):
        raise ArtifactError(f"{path}: other metadata", found=metadata, expected=f"the keys {sorted(keys)}", mend=mend)
    return tensors, metadata
