"""Tokenizing against the tokenizer itself."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.project import write_tokenizer
from tokalign.common.errors import ArtifactError, InputError
from tokalign.text.corpus import SCHEMA as TEXT_SCHEMA
from tokalign.tokenizers.loading import encode, load_backend, load_tokenizer
from tokalign.tokens.shards import read_shard
from tokalign.tokens.tokenize import pieces, tokenize_shard
from transformers import AutoTokenizer

os.environ["TOKENIZERS_PARALLELISM"] = "false"
TEXTS = ["the model reads the text", "", "Größe, 日本語 \U0001f642\n\n two  spaces", "<eos> is text here", "x" * 3000]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(path, [*TEXTS, "the small model writes a large text"] * 3, 300)
    return path


def write_text(path: Path, texts: list[str]) -> Path:
    columns = {
        "id": [f"id{i}" for i in range(len(texts))], "text": texts, "language": ["en", "de"] * (len(texts) // 2) + ["ja"] * (len(texts) % 2),
        "domain": ["web"] * len(texts), "source": ["s"] * len(texts),
    }  # fmt: skip
    pq.write_table(pa.table(columns, schema=TEXT_SCHEMA), path)
    return path


def rows(path: Path) -> list[dict]:
    return [row for batch in read_shard(path) for row in batch.table.to_pylist()]


def test_every_column(folder, tmp_path):
    totals = tokenize_shard(write_text(tmp_path / "a.parquet", TEXTS), load_backend(folder), tmp_path / "a.arrow")
    reference = AutoTokenizer.from_pretrained(folder)
    made = rows(tmp_path / "a.arrow")
    assert [row["ids"] for row in made] == [reference(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert [row["document"] for row in made] == [f"id{i}" for i in range(5)]
    assert [row["language"] for row in made] == ["en", "de", "en", "de", "ja"]
    assert [row["bytes"] for row in made] == [24, 0, 8 + 1 + 9 + 1 + 4 + 14, 18, 3000]
    assert [row["characters"] for row in made] == [24, 0, 6 + 1 + 3 + 1 + 1 + 14, 18, 3000]
    assert [row["words"] for row in made] == [5, 0, 5, 4, 1]
    assert totals == {"documents": 5, "tokens": sum(len(row["ids"]) for row in made), "bytes": 24 + 37 + 18 + 3000}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=6))
def test_any_text(folder, tmp_path, texts):
    tokenizer = load_tokenizer(folder)
    tokenize_shard(write_text(tmp_path / "a.parquet", texts), load_backend(folder), tmp_path / "a.arrow")
    made = [row["ids"] for row in rows(tmp_path / "a.arrow")]
    assert made == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert [tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in made] == texts


def test_no_special_tokens_no_truncation_no_padding(folder, tmp_path):
    """Whatever the tokenizer's files say it should do by itself."""
    from tokenizers.processors import TemplateProcessing

    plain = encode(load_tokenizer(folder), TEXTS)
    backend = load_backend(folder)
    backend.post_processor = TemplateProcessing(single="<eos> $A <eos>", special_tokens=[("<eos>", 0)])
    assert backend.encode("the").ids[0] == 0
    backend.enable_truncation(4)
    backend.enable_padding(length=30)
    tokenize_shard(write_text(tmp_path / "a.parquet", TEXTS), backend, tmp_path / "a.arrow")
    assert [row["ids"] for row in rows(tmp_path / "a.arrow")] == plain
    assert max(map(len, plain)) > 4


def test_many_documents(folder, tmp_path):
    """More than are tokenized at once, in order; the same bytes again."""
    texts = [f"text {i} of the model" for i in range(1100)]
    text = write_text(tmp_path / "a.parquet", texts)
    for name in ("1", "2"):
        tokenize_shard(text, load_backend(folder), tmp_path / name)
    assert len(list(read_shard(tmp_path / "1"))) > 1
    assert [row["document"] for row in rows(tmp_path / "1")] == [f"id{i}" for i in range(1100)]
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_pieces_of_a_batch(folder, tmp_path, monkeypatch):
    """Documents are cut into pieces of a size, a longer one alone; the shard does not depend on it."""
    assert list(pieces([3, 3, 4, 11, 0, 1, 10], 10)) == [(0, 3), (3, 4), (4, 6), (6, 7)]
    assert list(pieces([], 10)) == []
    text = write_text(tmp_path / "a.parquet", TEXTS)
    tokenize_shard(text, load_backend(folder), tmp_path / "whole")
    monkeypatch.setattr("tokalign.tokens.tokenize.PIECE_CHARACTERS", 30)
    tokenize_shard(text, load_backend(folder), tmp_path / "pieces")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()


def test_damaged_tokenizer(folder, tmp_path):
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: no such file"):
        load_backend(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: not a readable tokenizer"):
        load_backend(tmp_path)


def test_damaged_text_shard(folder, tmp_path):
    whole = write_text(tmp_path / "a.parquet", TEXTS).read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:-10])
    for name in ("a", "missing"):
        with pytest.raises(ArtifactError, match=rf"{name}\.parquet: not a readable text shard"):
            tokenize_shard(tmp_path / f"{name}.parquet", load_backend(folder), tmp_path / "a.arrow")
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_tokenizer_without_fast_implementation(tmp_path):
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"(?s)has no fast implementation.*ByT5Tokenizer.*tokenizer\.json"):
        load_tokenizer(tmp_path)
