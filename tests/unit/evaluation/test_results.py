"""Results: groups and metrics by hand, files that are read as they were written."""

import json

import numpy as np
import pyarrow as pa
import pytest
from tokalign.common.errors import ArtifactError
from tokalign.evaluation.results import (
    ALL,
    METRIC_KEYS,
    Measure,
    digest_of,
    groups_of,
    items_path,
    metrics_of,
    read_items,
    read_result,
    statistics,
    write_result,
)
from tokalign.evaluation.statistics.bootstrap import interval
from tokalign.evaluation.statistics.estimators import ratio

ROWS = [  # dataset, condition, language, domain, id, right, asked
    ("quiz", "0-shot", "en", "web", "a", 1, 2),
    ("quiz", "0-shot", "de", "web", "b", 3, 4),
    ("quiz", "5-shot", "en", "web", "a", 2, 2),
    ("quiz", "0-shot", "en", "law", "c", 0, 1),
    ("other", "", "en", "web", "a", 5, 8),
    ("quiz", "5-shot", "en", "web", "b", 1, 4),
]
NAMES = ("dataset", "condition", "language", "domain", "id", "right", "asked")
ACCURACY = Measure("accuracy", "ratio", ("right", "asked"), "%", "higher", scale=100.0)


def table(rows=ROWS):
    return pa.table(dict(zip(NAMES, map(list, zip(*rows, strict=True)), strict=True)))


def test_groups_by_hand():
    """Datasets and conditions are never pooled; what is one language and one domain is not repeated."""
    assert [(key, chosen.tolist()) for key, chosen in groups_of(table())] == [
        (("quiz", "0-shot", ALL, ALL), [0, 1, 3]),
        (("quiz", "0-shot", "de", "web"), [1]),
        (("quiz", "0-shot", "en", "law"), [3]),
        (("quiz", "0-shot", "en", "web"), [0]),
        (("quiz", "5-shot", "en", "web"), [2, 5]),
        (("other", "", "en", "web"), [4]),
    ]


def test_metrics_by_hand():
    mean = Measure("asked", "ratio", ("asked", "one"), "questions", "neither", "item")
    items = table().append_column("one", pa.array([1] * len(ROWS)))
    found = metrics_of(items, [ACCURACY, mean], "questions")
    assert [(m["metric"], m["value"], m["n"]) for m in found] == [
        ("accuracy", pytest.approx(100 * 4 / 7), 3), ("accuracy", 75.0, 1), ("accuracy", 0.0, 1), ("accuracy", 50.0, 1),
        ("accuracy", 50.0, 2), ("accuracy", 62.5, 1),
        ("asked", pytest.approx(7 / 3), 3), ("asked", 4.0, 1), ("asked", 1.0, 1), ("asked", 2.0, 1), ("asked", 3.0, 2),
        ("asked", 8.0, 1),
    ]  # fmt: skip
    whole = found[0]
    assert set(METRIC_KEYS) <= set(whole)
    assert (whole["dataset"], whole["condition"], whole["language"], whole["domain"]) == ("quiz", "0-shot", ALL, ALL)
    assert (whole["columns"], whole["estimator"], whole["scale"]) == (["right", "asked"], "ratio", 100)
    assert whole["items"] == "questions"
    assert whole["ci95"] == pytest.approx(interval(np.array([[1.0, 2], [3, 4], [0, 1]]), ratio, scale=100.0))
    assert [m["ci95"] for m in found[1:4]] == [None] * 3
    assert found[6]["level"] == "item"


def test_a_metric_that_is_not_defined():
    rows = [(*row[:5], 1, 0) for row in ROWS[:2]]
    assert [(m["value"], m["ci95"]) for m in metrics_of(table(rows), [ACCURACY], "questions")] == [(None, None)] * 3


def test_items_without_the_columns_of_a_metric_are_refused():
    with pytest.raises(ArtifactError, match="do not belong together"):
        statistics(pa.table({"nll": [1.0]}), ("nll", "bytes"))


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.large_list(pa.float32()), pa.list_(pa.int64(), 3)])
def test_a_column_of_lists_is_several_columns(kind):
    items = pa.table({"n": [1, 2], "grams": pa.array([[3, 4, 5], [6, 7, 8]], kind), "x": [0.5, 1.5]})
    assert statistics(items, ["n", "grams", "x"]).tolist() == [[1, 3, 4, 5, 0.5], [2, 6, 7, 8, 1.5]]
    parts = pa.concat_tables([items.slice(1), items.slice(0, 1)])
    assert statistics(parts, ["grams"]).tolist() == [[6, 7, 8], [3, 4, 5]]


def write(path, items=None, **changes):
    items = table() if items is None else items
    metrics = changes.pop("metrics", None)
    values = {
        "suite": "quiz", "labels": {"model": "m"}, "settings": {"shots": 0}, "items": items, "digests": {"model": "0"},
        "metrics": metrics_of(items, [ACCURACY], "questions") if metrics is None else metrics, "versions": {"torch": "2"}, "device": "cpu", "precision": None,
        "seconds": 1.5, "more": {"left": [1]},
    }  # fmt: skip
    write_result(path, **{**values, **changes})


def test_what_is_read_is_what_was_written(tmp_path):
    write(tmp_path / "deep/result.json")
    result = read_result(tmp_path / "deep/result.json")
    assert (result["suite"], result["labels"], result["settings"]) == ("quiz", {"model": "m"}, {"shots": 0})
    assert (result["digests"], result["versions"], result["device"]) == ({"model": "0"}, {"torch": "2"}, "cpu")
    assert (result["precision"], result["seconds"], result["more"]) == (None, 1.5, {"left": [1]})
    assert result["bootstrap"] == {"resamples": 1000, "seed": 42}
    assert result["metrics"] == metrics_of(table(), [ACCURACY], "questions")
    assert read_items(tmp_path / "deep/result.json").equals(table())
    assert items_path(tmp_path / "deep/result.json") == tmp_path / "deep/result.parquet"
    first = [(tmp_path / f"deep/result.{kind}").read_bytes() for kind in ("json", "parquet")]
    write(tmp_path / "deep/result.json")
    assert first == [(tmp_path / f"deep/result.{kind}").read_bytes() for kind in ("json", "parquet")]


def test_items_that_are_no_items_are_refused(tmp_path):
    cases = [
        (table([*ROWS, ROWS[0]]), "twice"),
        (table().drop_columns(["condition"]), "not items of an evaluation"),
        (table().slice(0, 0), "not items of an evaluation"),
    ]
    for items, message in cases:
        with pytest.raises(ArtifactError, match=message):
            write(tmp_path / "result.json", items=items, metrics=[])
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "result.json", metrics=[{"value": float("nan")}])
    assert not (tmp_path / "result.json").exists()


def test_results_that_cannot_be_read(tmp_path):
    path = tmp_path / "result.json"
    with pytest.raises(ArtifactError, match="no such file"):
        read_result(path)
    with pytest.raises(ArtifactError, match="no such file"):
        read_items(path)
    for text in ("[]", json.dumps({"suite": "quiz", "labels": {}})):
        path.write_text(text)
        with pytest.raises(ArtifactError, match="not the result of an evaluation"):
            read_result(path)
    items_path(path).write_bytes(b"PAR1 and nothing")
    with pytest.raises(ArtifactError, match="not a readable Parquet file"):
        read_items(path)


def test_digest_changes_if_and_only_if_the_content_does(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    before = digest_of(folder)
    (folder / "README.md").write_text("not part of the model")
    (folder / "config.json").touch()
    assert digest_of(folder) == before
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("model.safetensors", "config.json"):
        (copy / name).write_bytes((folder / name).read_bytes())
    assert digest_of(copy) == before
    (copy / "config.json").write_text("{} ")
    assert digest_of(copy) != before
    (folder / "config.json").rename(folder / "other.json")
    assert digest_of(folder) != before
    assert digest_of(copy / "config.json") != digest_of(folder / "other.json")
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(ArtifactError, match="nothing to digest"):
            digest_of(missing)
