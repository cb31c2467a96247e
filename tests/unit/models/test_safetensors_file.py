"""Safetensors files that are written tensor by tensor, against those of the safetensors library."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokalign.common.errors import InputError
from tokalign.models import safetensors_file
from tokalign.models.safetensors_file import Copied, Made, read_safetensors_header, read_safetensors_metadata, write_safetensors

TYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64", "uint64",
    "uint32", "uint16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu",
)  # fmt: skip
CONTENT = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 4), max_size=3)),
    max_size=8,
)


def random_tensor(dtype: str, shape: list[int], seed: int = 0) -> torch.Tensor:
    kind = getattr(torch, dtype)
    size = torch.empty(shape, dtype=kind).nbytes
    bits = torch.randint(0, 2 if dtype == "bool" else 256, (size,), generator=torch.Generator().manual_seed(seed))
    return bits.to(torch.uint8).view(kind).reshape(shape)


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def parts_of(path: Path) -> dict[str, Copied | Made]:
    return {name: Copied(path, tensor) for name, tensor in read_safetensors_header(path).items()}


@given(CONTENT, st.data())
@settings(max_examples=60, deadline=None)
def test_same_bytes_as_the_library(content, data):
    """Whichever tensors are copied and which are made, and whatever file the copies come from."""
    given_tensors = {name: random_tensor(*what, seed) for seed, (name, what) in enumerate(content.items())}
    with tempfile.TemporaryDirectory() as folder:
        whole, other, out = (Path(folder, name) for name in ("whole", "other", "out"))
        save_file(given_tensors, whole, {"format": "pt"})
        sources = data.draw(st.lists(st.sampled_from(["whole", "other", "made"]), min_size=8, max_size=8))
        chosen = dict(zip(given_tensors, sources, strict=False))
        save_file({name: given_tensors[name] for name, source in chosen.items() if source == "other"}, other)
        parts = parts_of(whole) | parts_of(other)
        entries = read_safetensors_header(whole)
        for name, source in chosen.items():
            if source == "made":
                raw, item = bytes_of(given_tensors[name]), given_tensors[name].element_size()
                cut = data.draw(st.integers(0, len(raw)))
                blocks = [block for block in (raw[:cut], raw[cut:]) if block]
                parts[name] = Made(entries[name].dtype, entries[name].shape, item, blocks)
        shuffled = dict(data.draw(st.permutations(list(parts.items()))))
        write_safetensors(out, shuffled, {"format": "pt"})
        assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSYS, None])
def test_copies_without_the_kernel_are_the_same(tmp_path, monkeypatch, number):
    """File systems that cannot, and those that copy nothing without saying so."""
    save_file({"a": random_tensor("float32", [999]), "b": random_tensor("int8", [77])}, tmp_path / "in")

    def copy_file_range(*_, **__):
        if number is None:
            return 0
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    monkeypatch.setattr(safetensors_file, "COPY_BYTES", 100)
    write_safetensors(tmp_path / "out", parts_of(tmp_path / "in"), {})
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    save_file({"a": random_tensor("float32", [999])}, tmp_path / "in")

    def copy_file_range(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    with pytest.raises(OSError, match="No space left"):
        write_safetensors(tmp_path / "out", parts_of(tmp_path / "in"), {})
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("blocks", [[b"1234"], [b"12345678", b"9"]])
def test_blocks_of_another_size_than_the_shape_says(tmp_path, blocks):
    with pytest.raises(ValueError, match=r"blocks of \d bytes for a tensor of 8"):
        write_safetensors(tmp_path / "out", {"a": Made("F32", (2,), 4, blocks)}, {})
    assert not list(tmp_path.iterdir())


def test_a_source_that_ends_too_early(tmp_path):
    save_file({"a": torch.ones(100)}, tmp_path / "in")
    parts = parts_of(tmp_path / "in")
    whole = (tmp_path / "in").read_bytes()
    (tmp_path / "in").write_bytes(whole[:-10])
    with pytest.raises(InputError, match=r"(?s)in: the file is cut short.*ends at byte " + str(len(whole) - 10)):
        write_safetensors(tmp_path / "out", parts, {})


def test_metadata(tmp_path):
    tensors = {"a": torch.arange(3)}
    save_file(tensors, tmp_path / "in", {"format": "pt"})
    save_file(tensors, tmp_path / "without")
    assert read_safetensors_metadata(tmp_path / "in") == {"format": "pt"}
    assert read_safetensors_metadata(tmp_path / "without") == {}
    write_safetensors(tmp_path / "out", parts_of(tmp_path / "in"), {"one": "1", "two": "zwei ü"})
    assert read_safetensors_metadata(tmp_path / "out") == {"one": "1", "two": "zwei ü"}
    assert torch.equal(load_file(tmp_path / "out")["a"], tensors["a"])
