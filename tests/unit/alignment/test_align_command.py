"""Vectors that cannot be used end the alignment in a message that names their file, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands.alignment import align_vocabularies
from commands.tokenizers import resolve_tokenizer
from safetensors.numpy import save_file
from support.project import write_tokenizer
from tokalign.common.errors import ArtifactError
from tokalign.vectors.vectors import Vectors, write_vectors

ROWS, DIMENSIONS = 151_000, 8
TEXTS = {"source": "the a model token vector matrix", "target": "das ein modell wort vektor matrix gross klein"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two resolved tokenizers and vectors of 151,000 tokens for each."""
    folder = tmp_path_factory.mktemp("alignment")
    generator = np.random.default_rng(1)
    for side, text in TEXTS.items():
        write_tokenizer(folder / f"{side}-raw", [text] * 20, 300)
        hf = resolve_tokenizer_of(folder, side)
        assert (hf / "tokenizer.json").is_file()
        values = generator.normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
        ids, counts = np.arange(ROWS, dtype=np.int32), np.arange(ROWS, 0, -1, dtype=np.int64)
        write_vectors(folder / f"{side}.safetensors", Vectors(values, ids, counts, {"vocabulary_size": ROWS}))
    return folder


def resolve_tokenizer_of(folder: Path, side: str) -> Path:
    hf = folder / side / "hf"
    settings = {"source": {"folder": str(folder / f"{side}-raw")}, "special_tokens": {}, "trust_remote_code": False}
    words = ["--settings", json.dumps(settings), "--hf", hf, "--vocabulary", folder / side / "vocabulary.parquet"]
    words += ["--info", folder / side / "info.json"]
    resolve_tokenizer.main(resolve_tokenizer.arguments().parse_args(list(map(str, words))))
    return hf


def missing(path: Path) -> str:
    path.unlink()
    return "no such file"


def empty(path: Path) -> str:
    path.write_bytes(b"")
    return "not a readable safetensors file"


def cut_in_the_header(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:20])
    return "not a readable safetensors file"


def cut_in_the_vectors(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-1000])
    return "not a readable safetensors file"


def text(path: Path) -> str:
    path.write_text("0 0.5 0.25\n" * ROWS)
    return "not a readable safetensors file"


def rewrite(path: Path, **changed: np.ndarray) -> None:
    """Write good arrays, but for some that are given, without any check."""
    arrays = {
        "vectors": np.ones((ROWS, DIMENSIONS), np.float32),
        "token_ids": np.arange(ROWS, dtype=np.int32),
        "counts": np.ones(ROWS, np.int64),
    }
    save_file(arrays | changed, path, {"tokalign": json.dumps({"vocabulary_size": ROWS})})


def float64(path: Path) -> str:
    rewrite(path, vectors=np.ones((ROWS, DIMENSIONS)))
    return "other arrays"


def one_dimension(path: Path) -> str:
    rewrite(path, vectors=np.ones(ROWS, np.float32))
    return "other arrays"


def no_columns(path: Path) -> str:
    rewrite(path, vectors=np.ones((ROWS, 0), np.float32))
    return "no vectors"


def fewer_ids(path: Path) -> str:
    rewrite(path, token_ids=np.arange(ROWS - 1, dtype=np.int32))
    return "the arrays do not belong together"


def nan(path: Path) -> str:
    values = np.ones((ROWS, DIMENSIONS), np.float32)
    values[150_000, 3] = np.nan
    rewrite(path, vectors=values)
    return "the vector of token 150000 is not finite"


BROKEN = [
    missing,
    empty,
    cut_in_the_header,
    cut_in_the_vectors,
    text,
    float64,
    one_dimension,
    no_columns,
    fewer_ids,
    nan,
]


def words_of(folder: Path, broken_side: str, broken: Path, out: Path) -> list[str]:
    """Return the command line of an alignment in which one side's vectors are another file."""
    words = ["--settings", json.dumps({"methods": ["relative"], "seed": 1}), "--threads", 1]
    for side in TEXTS:
        vectors = broken if side == broken_side else folder / f"{side}.safetensors"
        words += [f"--{side}-tokenizer", folder / side / "hf", f"--{side}-vocabulary", folder / side / "vocabulary.parquet"]
        words += [f"--{side}-vectors", vectors]
    return list(map(str, [*words, "--matrix", out / "alignment.safetensors", "--table", out / "tokens.parquet"]))


@pytest.mark.parametrize("side", TEXTS)
@pytest.mark.parametrize("break_it", BROKEN, ids=lambda function: function.__name__)
def test_refused(folder: Path, tmp_path: Path, side: str, break_it: Callable[[Path], str]):
    broken = tmp_path / f"broken-{side}.safetensors"
    broken.write_bytes((folder / f"{side}.safetensors").read_bytes())
    message = break_it(broken)
    args = align_vocabularies.arguments().parse_args(words_of(folder, side, broken, tmp_path / "out"))
    with pytest.raises(ArtifactError) as error:
        align_vocabularies.main(args)
    assert str(error.value).startswith(f"{broken}: {message}")
    assert "to mend:" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_command_says_so_without_a_traceback(folder: Path, tmp_path: Path, run_script):
    broken = tmp_path / "broken.safetensors"
    nan(broken)
    status, shown = run_script(align_vocabularies, *words_of(folder, "target", broken, tmp_path / "out"))
    assert status == 1
    message = f"align_vocabularies: error: {broken}: the vector of token 150000 is not finite\n  found:    nan in column 3\n"
    assert message in shown
