"""Files of vectors: what is written is read, what is wrong is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokalign.common.errors import ArtifactError
from tokalign.vectors.vectors import Vectors, read_vectors, write_vectors

METADATA = {"vocabulary_size": 20, "glove": {"seed": 1, "alpha": 0.75}, "name": "é"}


@pytest.fixture
def vectors() -> Vectors:
    """Make four vectors of three dimensions."""
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    return Vectors(values, np.array([7, 3, 0, 19], np.int32), np.array([9, 8, 8, 2], np.int64), METADATA)


def test_round_trip(tmp_path, vectors):
    """All arrays and the metadata come back; equal content is equal bytes."""
    write_vectors(tmp_path / "a", vectors)
    write_vectors(tmp_path / "b", replace(vectors, metadata=dict(reversed(METADATA.items()))))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_vectors(tmp_path / "a")
    assert again.metadata == METADATA
    for name, dtype in (("vectors", np.float32), ("token_ids", np.int32), ("counts", np.int64)):
        np.testing.assert_array_equal(getattr(again, name), getattr(vectors, name), strict=True)
        assert getattr(again, name).dtype == dtype


def write_unchecked(path, vectors, metadata='{"vocabulary_size": 20}'):
    """Write what ``write_vectors`` would refuse."""
    arrays = {"vectors": vectors.vectors, "token_ids": vectors.token_ids, "counts": vectors.counts}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path, {"tokalign": metadata})


def with_nan(vectors):
    """Put a NaN into the vector of token 3."""
    values = vectors.vectors.copy()
    values[1, 2] = np.nan
    return replace(vectors, vectors=values)


WRONG = {
    "vector of token 3 is not finite": with_nan,
    "token 20 is not in the vocabulary": lambda v: replace(v, token_ids=np.array([7, 3, 0, 20], np.int32)),
    "token -1 is not in the vocabulary": lambda v: replace(v, token_ids=np.array([7, -1, 0, 2], np.int32)),
    "token 3 has 2 vectors": lambda v: replace(v, token_ids=np.array([7, 3, 3, 19], np.int32)),
    "do not belong together": lambda v: replace(v, vectors=v.vectors[:3]),
    "no vectors": lambda v: Vectors(v.vectors[:0], v.token_ids[:0], v.counts[:0], v.metadata),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_content_is_refused(tmp_path, vectors, message):
    """Both writing and reading name the file and the token."""
    wrong = WRONG[message](vectors)
    write_unchecked(tmp_path / "file", wrong)
    with pytest.raises(ArtifactError, match=f"file: .*{message}"):
        read_vectors(tmp_path / "file")
    with pytest.raises(ArtifactError, match=f"other: .*{message}"):
        write_vectors(tmp_path / "other", wrong)
    assert not (tmp_path / "other").exists()


def test_wrong_arrays(tmp_path, vectors):
    """Vectors of one dimension or another type, a missing array, and missing metadata are refused."""
    for wrong in (replace(vectors, vectors=vectors.vectors[:, 0]), replace(vectors, vectors=vectors.vectors.astype(float))):
        write_unchecked(tmp_path / "file", wrong)
        with pytest.raises(ArtifactError, match="other arrays"):
            read_vectors(tmp_path / "file")
    save_file({"vectors": vectors.vectors}, tmp_path / "file", {"tokalign": "{}"})
    with pytest.raises(ArtifactError, match="other arrays"):
        read_vectors(tmp_path / "file")
    write_unchecked(tmp_path / "file", vectors, "{}")
    with pytest.raises(ArtifactError, match=r"(?s)other metadata.*vocabulary_size"):
        read_vectors(tmp_path / "file")


def test_missing_empty_and_truncated_files(tmp_path, vectors):
    """Each is named as what it is."""
    with pytest.raises(ArtifactError, match="none: no such file"):
        read_vectors(tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(ArtifactError, match="empty: not a readable safetensors file"):
        read_vectors(tmp_path / "empty")
    write_vectors(tmp_path / "whole", vectors)
    whole = (tmp_path / "whole").read_bytes()
    for length in (4, 40, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match="cut: not a readable safetensors file"):
            read_vectors(tmp_path / "cut")
