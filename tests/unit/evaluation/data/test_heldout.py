"""Held-out documents."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.settings import unchecked
from tokalign.common.errors import ArtifactError
from tokalign.evaluation.data.heldout import HeldoutSettings, cut, sample, write_heldout


def document(name, text, language="en", domain="web"):
    return {"id": name, "text": text, "language": language, "domain": domain, "source": "s"}


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("short", 5, "short"),
        ("one two three", 9, "one two"),  # "one two t" is cut before "three"
        ("one two three", 7, "one two"),  # whitespace follows the cut
        ("one two three", 8, "one two"),  # trailing space is dropped
        ("aäöü", 4, "aä"),  # 1 + 2 bytes; a third character would need 5
        ("日本語です", 10, "日本語"),  # 3 bytes each, no whitespace
        ("a " + "b" * 20, 10, "a bbbbbbbb"),  # whitespace only in the first half: cut in the word
    ],
)
def test_cut_by_hand(text, size, expected):
    assert cut(text, size) == expected


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60), st.integers(1, 80))
def test_cut_is_a_prefix_within_the_limit(text, size):
    result = cut(text, size)
    assert text.startswith(result)
    assert len(result.encode()) <= size
    assert result == text or len(text.encode()) > size


def test_takes_by_id_until_there_is_enough():
    documents = [document("c", "x" * 10), document("a", "y" * 10), document("b", "z" * 10), document("d", "é" * 6, "fr")]
    chosen = sample(documents, unchecked(HeldoutSettings, bytes_per_group=15, max_document_bytes=100))
    assert [(row["id"], row["bytes"]) for row in chosen] == [("a", 10), ("b", 10), ("d", 12)]
    assert sample(documents[::-1], unchecked(HeldoutSettings, bytes_per_group=15, max_document_bytes=100)) == chosen


def test_a_group_without_text_is_a_warning(caplog):
    chosen = sample(
        [document("a", " \n"), document("b", "text", "fr")], unchecked(HeldoutSettings, bytes_per_group=4, max_document_bytes=100)
    )
    assert [row["id"] for row in chosen] == ["b"]
    assert "en, web: no validation document" in caplog.text


def test_written_file(tmp_path):
    pq.write_table(pa.Table.from_pylist([document("a", "über alles hinweg")]), tmp_path / "validation.parquet")
    write_heldout(
        tmp_path / "validation.parquet",
        unchecked(HeldoutSettings, bytes_per_group=100, max_document_bytes=11),
        tmp_path / "out.parquet",
    )
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.to_pylist() == [{"id": "a", "text": "über alles", "language": "en", "domain": "web", "bytes": 11}]
    assert table.schema.field("bytes").type == pa.int32()


def test_no_documents_is_an_error(tmp_path):
    empty = pa.Table.from_pylist([document("a", "b")]).slice(0, 0)
    pq.write_table(empty, tmp_path / "validation.parquet")
    with pytest.raises(ArtifactError, match="no validation documents"):
        write_heldout(
            tmp_path / "validation.parquet",
            unchecked(HeldoutSettings, bytes_per_group=1, max_document_bytes=1),
            tmp_path / "out.parquet",
        )
    assert not (tmp_path / "out.parquet").exists()
    with pytest.raises(ArtifactError, match="no such file"):
        write_heldout(
            tmp_path / "absent.parquet",
            unchecked(HeldoutSettings, bytes_per_group=1, max_document_bytes=1),
            tmp_path / "out.parquet",
        )
