"""Safetensors files without loading their tensors: read headers, and write new files tensor by tensor.

Format: length of the header (8 bytes, little-endian), header in JSON, data (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import errno
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from tokalign.common.errors import InputError
from tokalign.common.files import atomic_file

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

ORDER = (
    "U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E8M0", "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL",
)  # fmt: skip
"""Types in the order in which the safetensors library stores them, so that every tensor is aligned; names come second."""

NOT_COPIED_BY_KERNEL = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
COPY_BYTES = 8 << 20


@dataclass(frozen=True)
class Tensor:
    """An entry of a safetensors header.

    Attributes:
        dtype: name of the type in the format, such as ``BF16``.
        shape: shape of the tensor.
        start: offset of its bytes in the file.
        length: length of its data in bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    length: int


@dataclass(frozen=True)
class Copied:
    """A tensor of a new file, copied from another file."""

    path: Path
    tensor: Tensor


@dataclass(frozen=True)
class Made:
    """A tensor of a new file, computed while it is written.

    Attributes:
        dtype: name of the type in the format.
        shape: shape of the tensor.
        item_bytes: bytes of an element.
        blocks: contiguous buffers that together hold the tensor's bytes in C order, little-endian.
    """

    dtype: str
    shape: tuple[int, ...]
    item_bytes: int
    blocks: Iterable[Any]

    @property
    def length(self) -> int:
        """Return the length of the data in bytes."""
        return math.prod(self.shape) * self.item_bytes


def read_safetensors_header(path: Path) -> dict[str, Tensor]:
    """Read the header of a safetensors file and check that the file has its full length.

    Raises:
        InputError: the header cannot be read, or bytes are missing or left over.
    """
    return _read(path)[0]


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """Read the metadata in the header of a safetensors file: strings by name.

    Raises:
        InputError: as ``read_safetensors_header``.
    """
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    mend = "get the file again, and compare its hash with the publisher's"
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else None
        if length is None or 8 + length > size:
            raise InputError(f"{path}: the file is cut short", found=f"{size} bytes", mend=mend)
        text = file.read(length)
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", {})
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            tensors[name] = Tensor(entry["dtype"], tuple(entry["shape"]), 8 + length + begin, end - begin)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: no safetensors header", found=error, mend=mend) from error
    expected = max((tensor.start + tensor.length for tensor in tensors.values()), default=8 + length)
    if size != expected:
        raise InputError(
            f"{path}: the file does not have its full length", found=f"{size} bytes", expected=f"{expected} bytes", mend=mend
        )
    return tensors, metadata


def weight_files(folder: Path) -> list[str]:
    """Return the names of a model folder's safetensors files.

    Raises:
        InputError: there are none or only pickles, or a file in the index is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{folder / INDEX}: damaged", found=error, expected="a JSON object with weight_map") from error
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise InputError(
                f"{folder}: files of the model are missing",
                found=f"no {', '.join(missing)}",
                expected=f"the {len(names)} files that {INDEX} names",
                mend="copy or download the folder again",
            )
        return names
    pickles = sorted({path.name for pattern in PICKLES for path in folder.glob(pattern)})
    if pickles:
        raise InputError(
            f"{folder}: weights are read from safetensors only",
            found=", ".join(pickles),
            expected=WEIGHTS,
            mend="convert it where you trust it: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new, safe_serialization=True)",
        )
    raise InputError(f"{folder}: no weights", expected=f"{WEIGHTS}, or {INDEX} with the files it names", mend="add them")


def write_safetensors(path: Path, tensors: Mapping[str, Copied | Made], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file tensor by tensor; it appears complete or not at all.

    Header and data order match the safetensors library, so that equal tensors make equal files.

    Args:
        path: file to create.
        tensors: tensors by name, copied from other files or made block by block.
        metadata: strings by name for the header; left out if empty.

    Raises:
        ValueError: the blocks of a tensor do not match the size of its shape.
        InputError: a source file ends before its tensor.
    """
    ranks = {dtype: rank for rank, dtype in enumerate(ORDER)}
    types = {name: part.tensor.dtype if isinstance(part, Copied) else part.dtype for name, part in tensors.items()}
    names = sorted(tensors, key=lambda name: (ranks.get(types[name], len(ORDER)), name))
    with atomic_file(path) as partial, partial.open("wb", buffering=0) as out:
        _write(out, _header([(name, tensors[name]) for name in names], metadata))
        for part in _merged([tensors[name] for name in names]):
            if isinstance(part, Copied):
                _copy(part.path, part.tensor.start, part.tensor.length, out)
                continue
            written = sum(_write(out, block) for block in part.blocks)
            if written != part.length:
                raise ValueError(f"blocks of {written} bytes for a tensor of {part.length}")


def _header(parts: Sequence[tuple[str, Copied | Made]], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, part in parts:
        entry = part.tensor if isinstance(part, Copied) else part
        entries[name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [end, end + entry.length]}
        end += entry.length
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _merged(parts: Sequence[Copied | Made]) -> list[Copied | Made]:
    """Join tensors copied from adjacent places of one file, so that a few large ranges are copied."""
    joined: list[Copied | Made] = list(parts[:1])
    for before, part in pairwise(parts):
        last = joined[-1]
        if (
            isinstance(before, Copied)
            and isinstance(part, Copied)
            and isinstance(last, Copied)
            and before.path == part.path
            and before.tensor.start + before.tensor.length == part.tensor.start
        ):
            whole = Tensor("", (), last.tensor.start, last.tensor.length + part.tensor.length)
            joined[-1] = Copied(part.path, whole)
        else:
            joined.append(part)
    return joined


def _write(out: BinaryIO, block: Any) -> int:
    """Append all bytes of a contiguous buffer to an unbuffered file; return their number."""
    left = memoryview(block).cast("B")
    total = len(left)
    while left:
        left = left[out.write(left) :]
    return total


def _copy(path: Path, start: int, length: int, out: BinaryIO) -> None:
    """Append bytes of a file to an unbuffered one.

    The kernel copies if it can, which shares blocks on some file systems.
    """
    with path.open("rb", buffering=0) as file:
        place, left, by_kernel = start, length, hasattr(os, "copy_file_range")
        while left:
            if by_kernel:
                try:
                    count = os.copy_file_range(file.fileno(), out.fileno(), left, offset_src=place)
                except OSError as error:
                    if error.errno not in NOT_COPIED_BY_KERNEL:
                        raise
                    count = 0
                by_kernel = count > 0
            else:
                count = _write(out, os.pread(file.fileno(), min(left, COPY_BYTES), place))
                if not count:
                    raise InputError(
                        f"{path}: the file is cut short", found=f"it ends at byte {place}", mend="get the file again"
                    )
            place, left = place + count, left - count
