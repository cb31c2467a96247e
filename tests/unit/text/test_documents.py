"""Documents out of files of every kind, and messages that say where a file is wrong."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokalign.common.errors import InputError
from tokalign.text.documents import file_format, read_documents

TEXTS = ["one", "zwei\nZeilen", "три", "四\u2028五 \U0001f642", " five "]
COMPRESS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


def jsonl(texts: list[str], field: str = "text") -> bytes:
    return "".join(json.dumps({field: text, "more": 1}, ensure_ascii=False) + "\n" for text in texts).encode()


def read(path: Path, field: str = "text") -> list[str]:
    return list(read_documents(path, field, Counter()))


def error(path: Path, field: str = "text") -> str:
    with pytest.raises(InputError) as caught:
        read(path, field)
    return str(caught.value)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_jsonl(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](jsonl(TEXTS)))
    assert read(path) == TEXTS


@pytest.mark.parametrize("suffix", COMPRESS)
def test_plain_text_has_a_document_per_paragraph(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESS[suffix]("\n\none\nline two\n \t\r\n\nдва\r\nстроки\r\n\r\nlast".encode()))
    assert read(path) == ["one\nline two", "два\r\nстроки", "last"]


def test_parquet(tmp_path):
    pq.write_table(pa.table({"content": TEXTS, "text": [1] * 5}), tmp_path / "a.parquet", row_group_size=2)
    assert read(tmp_path / "a.parquet", "content") == TEXTS


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), max_size=5))
def test_any_text_comes_back_unchanged(tmp_path, texts):
    (tmp_path / "a.jsonl").write_bytes(jsonl(texts))
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.jsonl") == read(tmp_path / "a.parquet") == texts


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_files_of_several_frames(tmp_path, suffix):
    """`cat a.gz b.gz` is a gzip file too."""
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](jsonl(TEXTS[:2])) + COMPRESS[suffix](jsonl(TEXTS[2:])))
    assert read(path) == TEXTS


def test_empty_documents_are_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n\n{"text": ""}\n{"text": " \\n"}\n{"text": null}\n{"text": "y"}')
    pq.write_table(pa.table({"text": ["x", "", None, "\t"]}), tmp_path / "a.parquet")
    dropped: Counter[str] = Counter()
    assert list(read_documents(tmp_path / "a.jsonl", "text", dropped)) == ["x", "y"]
    assert dropped == {"empty": 3}
    assert list(read_documents(tmp_path / "a.parquet", "text", dropped)) == ["x"]
    assert dropped == {"empty": 6}
    for name in ("empty.jsonl", "empty.txt"):
        (tmp_path / name).touch()
        assert read(tmp_path / name) == []


def test_file_format():
    assert file_format(Path("a.b.jsonl.gz")) == (".jsonl", "gzip")
    assert file_format(Path("a.txt.zst")) == (".txt", "zstd")
    assert file_format(Path("a.parquet")) == (".parquet", None)
    for name in ("a.json", "a.jsonl.bz2", "a.parquet.gz", "jsonl", "a.gz", "a.csv.zst"):
        with pytest.raises(InputError, match=r"(?s)unknown kind of file.*\.jsonl\.zst"):
            file_format(Path(name))


def test_missing_file(tmp_path):
    assert error(tmp_path / "a.jsonl").startswith(f"{tmp_path}/a.jsonl: no such file")
    (tmp_path / "a.txt").mkdir()
    assert error(tmp_path / "a.txt").startswith(f"{tmp_path}/a.txt: no such file")


@pytest.mark.parametrize("suffix", COMPRESS)
def test_bad_lines_are_named(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    for line, expected in {
        '{"text": "x"': "not JSON (Expecting ',' delimiter at column 13)",
        "plain text": "not JSON (Expecting value at column 1)",
        '["text"]': "not a JSON object",
        '{"txt": "x", "id": 1}': "a document without text\n  found:    the fields 'txt', 'id'\n  expected: a field \"text\"",
        "{}": "a document without text\n  found:    the fields none",
        '{"text": 5}': "the text of the document is not a string\n  found:    5",
        '{"text": ["x"]}': "the text of the document is not a string",
    }.items():
        path.write_bytes(COMPRESS[suffix](f'{{"text": "good"}}\n\n{line}\n{{"text": "good"}}\n'.encode()))
        assert error(path).startswith(f"{path} line 3: {expected}")


def test_long_lines_are_shortened(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "' + "x" * 10_000)
    assert len(error(tmp_path / "a.jsonl")) < 600


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_not_utf8(tmp_path, name):
    (tmp_path / name).write_bytes(b'{"text": "good"}\n' + '{"text": "Größe"}\n'.encode("latin-1"))
    text = error(tmp_path / name)
    assert text.startswith(f"{tmp_path / name} line 2: not UTF-8")
    assert "byte 0xf6 in position 12" in text
    assert "iconv" in text


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("form", ["jsonl", "txt"])
def test_truncated_compressed_files(tmp_path, suffix, form):
    """Wherever a compressed file is cut, that is an error and not an early end."""
    lines = [f'{{"text": "{"abcdefghij"[i % 10] * 7} {i * i}"}}\n' for i in range(400)]
    whole = COMPRESS[suffix]("".join(lines).encode())
    path = tmp_path / f"a.{form}{suffix}"
    for length in (5, len(whole) // 2, len(whole) - 9, len(whole) - 4, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert error(path).startswith(f"{path}: the compressed file is truncated")
    path.write_bytes(whole)
    assert sum(map(len, read(path))) > 0


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_cut_second_frame(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](jsonl(TEXTS)) + COMPRESS[suffix](jsonl(TEXTS * 50))[:40])
    assert "truncated" in error(path)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damaged_or_not_compressed(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(jsonl(TEXTS))
    assert error(path).startswith(f"{path}: the compressed file is truncated or damaged after line 0")


def test_parquet_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x"] * 100}), path)
    whole = path.read_bytes()
    for data in (whole[:-30], b"", b"text" * 50):
        path.write_bytes(data)
        assert error(path).startswith(f"{path}: not a readable Parquet file")
    pq.write_table(pa.table({"txt": ["x"], "id": [1]}), path)
    assert error(path).startswith(f"{path}: documents without text\n  found:    the columns txt, id\n  expected: a column 'text'")
    pq.write_table(pa.table({"text": [[1], [2]]}), path)
    assert error(path).startswith(f"{path} row 1: the text of the document is not a string")


def test_parquet_damaged_within(tmp_path):
    """The end of the file is whole, its data are not."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"document {i}" for i in range(2000)]}), path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[4:600] = b"\xff" * 596
    path.write_bytes(data)
    assert error(path).startswith(f"{path}: damaged after row 0")
