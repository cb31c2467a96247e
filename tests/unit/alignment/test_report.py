"""Report of an alignment, on small ones written by hand."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.alignments import write_tokens
from support.shards import write_shard
from tokalign.alignment.categories import CATEGORIES
from tokalign.alignment.report import gini, report_alignment
from tokalign.common.errors import ArtifactError
from tokalign.tokenizers.vocabulary import printable


def write_vocabulary(path, data):
    pq.write_table(
        pa.table(
            {
                "id": pa.array(range(len(data)), pa.int32()),
                "token": [f"<{i}>" for i in range(len(data))],
                "bytes": pa.array(data, pa.binary()),
                "kind": ["special" if d is None else "text" for d in data],
            }
        ),
        path,
    )


@pytest.fixture
def files(tmp_path):
    write_vocabulary(tmp_path / "source.parquet", [None, b" the", b"\xff", b"\n"])
    write_vocabulary(tmp_path / "target.parquet", [None, b" the", b" der", b" die", "日".encode(), b"zz"])
    write_tokens(
        tmp_path / "tokens.parquet",
        [
            ("special", None, [0], [1.0]),
            ("exact", None, [1], [1.0]),
            ("aligned", 0.5, [1], [1.0]),
            ("aligned", 0.9, [1, 3], [0.75, 0.25]),
            ("decomposed", None, [2, 2], [0.5, 0.5]),
            ("random", None, [], []),
        ],
    )
    write_shard(tmp_path / "a.arrow", [[1, 1, 2], []])
    write_shard(tmp_path / "b.arrow", [[3, 4, 1, 1, 1]])
    return tmp_path


def report(folder, *shards):
    paths = [folder / name for name in ("tokens.parquet", "source.parquet", "target.parquet")]
    return report_alignment(*paths, [folder / name for name in shards], {"alignment": "x"})


def test_by_hand(files):
    result = report(files, "a.arrow", "b.arrow")
    assert result["categories"]["aligned"] == {"tokens": 2, "share": pytest.approx(1 / 3), "corpus_share": 2 / 8}
    assert result["categories"]["exact"]["corpus_share"] == 5 / 8
    assert list(result["categories"]) == list(CATEGORIES)
    assert sum(c["tokens"] for c in result["categories"].values()) == 6
    assert sum(c["corpus_share"] for c in result["categories"].values()) == pytest.approx(1)
    quantiles = result["scores"]["quantiles"]
    assert (quantiles["0"], quantiles["50"], quantiles["100"]) == pytest.approx((0.5, 0.7, 0.9))
    histogram = result["scores"]["histogram"]
    assert sum(histogram["counts"]) == 2
    assert histogram["counts"][histogram["edges"].index(0.5)] == 1
    assert result["source_tokens_used"] == 4
    assert result["hubs"]["aligned"] == {
        "distinct": 2,
        "top_share": 1.0,
        "gini": pytest.approx(0.5833, abs=1e-4),  # of 0, 0, 1, 2: 14/16 is the mean difference, half of it over 3/4
        "most_used": [{"id": 1, "text": " the", "targets": 2}, {"id": 3, "text": "\\n", "targets": 1}],
    }
    assert result["hubs"]["decomposed"]["most_used"] == [{"id": 2, "text": "\\xff", "targets": 2}]
    json.dumps(result, allow_nan=False)


def test_spread_of_weights_and_duplicates_by_hand(files):
    result = report(files)
    aligned = result["weights"]["aligned"]
    assert (aligned["sources"]["mean"], aligned["sources"]["quantiles"]["100"]) == (1.5, 2)
    assert aligned["entropy_bits"]["quantiles"]["100"] == pytest.approx(0.811278)  # -(3/4 log 3/4 + 1/4 log 1/4)
    assert result["weights"]["exact"]["entropy_bits"]["mean"] == 0
    assert "random" not in result["weights"] and "random" not in result["hubs"]  # its row is empty
    assert result["duplicated_rows"] == {"groups": 1, "tokens": 2, "largest": 2}  # ids 1 and 2 are both source 1


def test_duplicates_are_the_same_in_sources_and_weights(tmp_path):
    write_vocabulary(tmp_path / "source.parquet", [b"a", b"b"])
    write_vocabulary(tmp_path / "target.parquet", [b"t"] * 7)
    rows = [
        ([0, 1], [0.5, 0.5]),
        ([1, 0], [0.5, 0.5]),
        ([0, 1], [0.75, 0.25]),
        ([0], [1.0]),
        ([0], [1.0]),
        ([0], [1.0]),
        ([], []),
    ]
    write_tokens(tmp_path / "tokens.parquet", [("aligned", 0.5, *row) for row in rows])
    assert report(tmp_path)["duplicated_rows"] == {"groups": 2, "tokens": 5, "largest": 3}


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_gini_is_half_the_mean_difference_over_the_mean(counts):
    differences = [abs(a - b) for a in counts for b in counts]
    expected = sum(differences) / len(differences) / 2 / (sum(counts) / len(counts)) if sum(counts) else None
    assert gini(np.array(counts)) == (pytest.approx(expected, abs=1e-12) if expected is not None else None)


def test_hubs_that_a_row_uses_twice_or_not_at_all(tmp_path):
    write_vocabulary(tmp_path / "source.parquet", [b"s"] * 30)
    write_vocabulary(tmp_path / "target.parquet", [b"t"] * 30)
    rows = [([i % 10, 10 + i], [0.5, 0.5]) if i < 20 else ([i], [1.0]) for i in range(30)]
    write_tokens(tmp_path / "tokens.parquet", [("aligned", 0.5, *row) for row in rows])
    hubs = report(tmp_path)["hubs"]["aligned"]
    # Ids 0 to 9 are used twice, 10 to 29 once, of which 20 to 29 a second time; the ten smallest of these ids are 0 to 9.
    assert [h["targets"] for h in hubs["most_used"]][:10] == [2] * 10
    assert hubs["top_share"] == pytest.approx(20 / 30)


def test_examples_read_from_low_to_high_scores(files):
    first = report(files)["examples"][0]
    assert first["quantile"] == 5
    assert [(t["target"], [s["text"] for s in t["sources"]]) for t in first["tokens"]] == [
        (" der", [" the"]),
        (" die", [" the", "\\n"]),
    ]
    assert [s["weight"] for s in first["tokens"][1]["sources"]] == [0.75, 0.25]


def test_twelve_examples_around_each_quantile(tmp_path):
    scores = np.random.default_rng(0).permutation(101) / 100
    write_vocabulary(tmp_path / "source.parquet", [b"s"])
    write_vocabulary(tmp_path / "target.parquet", [b"t"] * 101)
    write_tokens(tmp_path / "tokens.parquet", [("aligned", s, [0], [1.0]) for s in scores])
    result = report(tmp_path)
    for example in result["examples"]:
        middle = example["quantile"]
        expected = np.arange(12) + min(max(middle - 6, 0), 101 - 12)
        assert [t["score"] for t in example["tokens"]] == pytest.approx(expected / 100)
        assert example["score"] == pytest.approx(middle / 100)
    assert result["hubs"]["aligned"]["most_used"][0]["targets"] == 101


def test_without_shards_and_without_aligned_tokens(tmp_path):
    write_vocabulary(tmp_path / "source.parquet", [b"s"])
    write_vocabulary(tmp_path / "target.parquet", [b"t"])
    write_tokens(tmp_path / "tokens.parquet", [("exact", None, [0], [1.0])])
    result = report(tmp_path)
    assert result["scores"] is None
    assert result["categories"]["exact"]["corpus_share"] is None
    assert result["categories"]["random"] == {"tokens": 0, "share": 0.0, "corpus_share": None}
    assert result["examples"] == []
    assert result["hubs"] == {}


@pytest.mark.parametrize(
    ("data", "text"),
    [(b" the", " the"), (b"\n\t", "\\n\\t"), (b"\xe6\x97", "\\xe6\\x97"), ("é日".encode(), "é日"), (b"\\n", "\\\\n"),
     (b"\xc2\xa0", "\\xa0"), (b"", "")],
)  # fmt: skip
def test_printable_by_hand(data, text):
    assert printable(data) == text


@given(st.binary(max_size=12))
def test_printable_is_always_visible(data):
    assert printable(data).isprintable()


def test_files_that_do_not_fit(files):
    write_shard(files / "large.arrow", [[6]])
    with pytest.raises(ArtifactError, match="beyond the vocabulary"):
        report(files, "large.arrow")
    write_vocabulary(files / "source.parquet", [b"only"])
    with pytest.raises(ArtifactError, match="source id is outside"):
        report(files)
    write_vocabulary(files / "target.parquet", [b"only"])
    with pytest.raises(ArtifactError, match="does not belong"):
        report(files)
    write_tokens(files / "tokens.parquet", [("aligned", None, [0], [1.0])])
    with pytest.raises(ArtifactError, match="no cosine"):
        report(files)
