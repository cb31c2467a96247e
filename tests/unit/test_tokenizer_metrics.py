"""Tokenizer metrics, worked out by hand."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shards_for_tests import write_shard
from tokalign.errors import ArtefactError
from tokalign.tokenizer_metrics import evaluate_tokenizer


def write_vocabulary(path, roles):
    pq.write_table(
        pa.table({"id": pa.array(range(len(roles)), pa.int32()), "roles": pa.array(roles, pa.list_(pa.string()))}), path
    )


def row(ids, size, characters, words, language):
    return {"ids": ids, "bytes": size, "characters": characters, "words": words, "language": language}


@pytest.fixture
def files(tmp_path):
    rows = [row([1, 2, 3], 12, 12, 2, "en"), row([0, 4], 9, 3, 1, "ja"), row([1], 8, 8, 2, "en")]
    write_shard(tmp_path / "validation.arrow", rows, rows=2)
    write_vocabulary(tmp_path / "vocabulary.parquet", [["unk"], [], None, [], ["eos"]])
    return tmp_path / "validation.arrow", tmp_path / "vocabulary.parquet"


def test_by_hand(files):
    result = evaluate_tokenizer(*files, {"tokenizer": "t"})
    english, japanese = result["groups"]
    assert english["language"] == "en"
    assert english["fertility"] == 4 / 4
    assert english["bytes_per_token"] == 20 / 4
    assert english["characters_per_token"] == 5
    assert english["unknown_rate"] == 0
    assert english["bytes_per_token_ci95"] == [4.0, 8.0]  # twice the first or twice the second document
    assert japanese["tokens_per_character"] == pytest.approx(2 / 3)
    assert japanese["unknown_rate"] == 0.5
    assert japanese["fertility_ci95"] is None  # one document
    overall = result["overall"]
    assert overall["bytes_per_token"] == pytest.approx(29 / 6)  # the mean over documents would be 5.5
    assert overall["fertility"] == pytest.approx(6 / 5)
    assert overall["unknown_rate"] == pytest.approx(1 / 6)
    assert (overall["documents"], overall["tokens"], overall["bytes"], overall["words"]) == (3, 6, 29, 5)
    assert result["unknown_token"] == 0


def test_same_result_for_other_record_batches(files, tmp_path):
    rows = [row([1, 2, 3], 12, 12, 2, "en"), row([0, 4], 9, 3, 1, "ja"), row([1], 8, 8, 2, "en")]
    write_shard(tmp_path / "other.arrow", rows, rows=1)
    assert evaluate_tokenizer(tmp_path / "other.arrow", files[1], {}) == evaluate_tokenizer(*files, {})


def test_document_without_tokens_or_words(tmp_path, files):
    write_shard(tmp_path / "empty.arrow", [row([], 0, 0, 0, "en")])
    result = evaluate_tokenizer(tmp_path / "empty.arrow", files[1], {})
    assert result["overall"]["fertility"] is None
    assert result["overall"]["bytes_per_token"] is None


def test_files_that_do_not_fit(files, tmp_path):
    write_vocabulary(tmp_path / "small.parquet", [[], []])
    with pytest.raises(ArtefactError, match="outside of the vocabulary"):
        evaluate_tokenizer(files[0], tmp_path / "small.parquet", {})
    (tmp_path / "cut.arrow").write_bytes(files[0].read_bytes()[:200])
    with pytest.raises(ArtefactError, match="not a readable token shard"):
        evaluate_tokenizer(tmp_path / "cut.arrow", files[1], {})
    write_shard(tmp_path / "none.arrow", [])
    with pytest.raises(ArtefactError, match="no documents"):
        evaluate_tokenizer(tmp_path / "none.arrow", files[1], {})
