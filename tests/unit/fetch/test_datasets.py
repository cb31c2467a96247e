"""Fetching hub data sets, with a local file in place of the hub: what is written, in which order, and what is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import datasets
import pyarrow.parquet as pq
import pytest
from tokalign.common.errors import InputError
from tokalign.fetch import datasets as fetching
from tokalign.fetch.datasets import fetch_dataset, fetch_testset

SETTINGS = {
    "hub": "owner/name", "revision": "main", "subset": None, "split": "train", "max_bytes": None, "text_field": "body", "seed": 1,
}  # fmt: skip
TEXTS = [f"document {i} Ü" for i in range(50)]  # 13 or 14 bytes each


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A data set of one local file; returns the calls that reach the hub."""
    file = tmp_path / "hub.jsonl"
    file.write_text("".join(json.dumps({"body": text, "other": 1}) + "\n" for text in TEXTS), encoding="utf-8")
    calls = []
    load = datasets.load_dataset

    def load_local(name, subset, *, split, revision, streaming):
        calls.append((name, subset, split, revision))
        return load("json", data_files=str(file), split="train", streaming=streaming, cache_dir=str(tmp_path / "cache"))

    api = SimpleNamespace(dataset_info=lambda name, revision: SimpleNamespace(sha="c0ffee"))
    monkeypatch.setattr(fetching, "HfApi", lambda: api)
    monkeypatch.setattr(fetching.datasets, "load_dataset", load_local)
    return calls


def fetched(tmp_path, name: str, **changes) -> tuple[list[str], dict]:
    out = tmp_path / name
    out.mkdir()
    fetch_dataset(SETTINGS | changes, out)
    texts = [text for path in sorted(out.glob("*.parquet")) for text in pq.read_table(path)["text"].to_pylist()]
    return texts, json.loads((out / "provenance.json").read_text())


def test_every_text_in_a_seeded_order_at_the_commit_of_the_revision(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "ROWS_PER_FILE", 20)
    texts, provenance = fetched(tmp_path, "a")
    assert sorted(texts) == sorted(TEXTS)
    assert texts != TEXTS
    assert hub == [("owner/name", None, "train", "c0ffee")]
    assert provenance["commit"] == "c0ffee"
    assert (provenance["documents"], provenance["bytes"]) == (50, sum(len(text.encode()) for text in TEXTS))
    assert len(list((tmp_path / "a").glob("*.parquet"))) == 3
    assert fetched(tmp_path, "b")[0] == texts
    assert fetched(tmp_path, "c", seed=2)[0] != texts


def test_no_more_than_max_bytes(hub, tmp_path):
    texts, provenance = fetched(tmp_path, "a", max_bytes=100)
    assert 100 - 14 < provenance["bytes"] <= 100
    assert provenance["bytes"] == sum(len(text.encode()) for text in texts)


@pytest.mark.parametrize(("field", "message"), [("text", "documents without text"), ("other", "the text is not a string")])
def test_a_field_that_is_not_the_text(hub, tmp_path, field, message):
    with pytest.raises(InputError, match=message):
        fetched(tmp_path, "a", text_field=field)


@pytest.mark.parametrize(
    "error", [RuntimeError("Dataset scripts are no longer supported"), ValueError("unknown split"), OSError("no network")]
)
def test_a_data_set_that_cannot_be_opened(hub, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(fetching.datasets, "load_dataset", fail)
    with pytest.raises(InputError, match=r"owner/name: cannot be opened[\s\S]*" + str(error)):
        fetched(tmp_path, "a")


TESTSET = {"hub": "owner/name", "revision": "main", "subset": "en-es", "split": "test", "limit": None}


def rows_of(tmp_path, name: str, **changes) -> tuple[list[dict], dict]:
    out = tmp_path / name
    out.mkdir()
    fetch_testset(TESTSET | changes, out)
    rows = [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return rows, json.loads((out / "provenance.json").read_text())


def test_rows_of_a_test_set_as_they_are_and_in_their_order(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "ROWS_PER_FILE", 20)
    rows, provenance = rows_of(tmp_path, "a")
    assert rows == [{"body": text, "other": 1} for text in TEXTS]
    assert hub == [("owner/name", "en-es", "test", "c0ffee")]
    assert (provenance["commit"], provenance["rows"], provenance["revision"]) == ("c0ffee", 50, "main")
    assert sorted(path.name for path in (tmp_path / "a").glob("*.parquet")) == ["00000.parquet", "00001.parquet", "00002.parquet"]
    rows, provenance = rows_of(tmp_path, "b", limit=21)
    assert ([row["body"] for row in rows], provenance["rows"]) == (TEXTS[:21], 21)


def test_a_test_set_without_rows_or_with_more_than_text(tmp_path, hub, monkeypatch):
    monkeypatch.setattr(fetching.datasets, "load_dataset", lambda *_, **__: [])
    with pytest.raises(InputError, match="split test has no rows"):
        rows_of(tmp_path, "a")
    monkeypatch.setattr(fetching.datasets, "load_dataset", lambda *_, **__: [{"text": "a", "image": object()}])
    with pytest.raises(InputError, match="rows 0 to 1 hold more than text"):
        rows_of(tmp_path, "b")


def test_a_test_set_that_cannot_be_opened(hub, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("unknown split")

    monkeypatch.setattr(fetching.datasets, "load_dataset", fail)
    with pytest.raises(InputError, match=r"owner/name: cannot be opened[\s\S]*unknown split[\s\S]*split test"):
        rows_of(tmp_path, "a")
