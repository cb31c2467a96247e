"""Composite metrics made of what other suites measured: which systems, speeds and sizes belong together, and the caveat."""

import pyarrow as pa
import pytest
from tokalign.evaluation.columns import LABELS
from tokalign.evaluation.comparison import Entry
from tokalign.evaluation.composite import composite_rows
from tokalign.evaluation.results import write_result

SOURCE = {"model": "m", "tokenizer": "old", "stage": "source"}
ADAPTED = {"model": "m", "tokenizer": "new", "corpus": "c", "alignment": "fit", "recipe": "r", "seed": 1, "stage": "last"}


def row(suite, metric, value, baseline, condition, **more):
    return {
        "evaluation": "e", "suite": suite, "system": "last", "role": "adapted", "origin": "measured", "metric": metric, "value": value,
        "baseline": "source", "baseline_value": baseline, "dataset": "set:es-en", "condition": condition, "language": "en",
        "domain": "web", "n": 1012, "items": "segments", **{name: ADAPTED.get(name) for name in LABELS}, **more,
    }  # fmt: skip


ROWS = [
    row("translation", "chrf++", 37.7, 33.31, "greedy"),
    row("translation", "chrf++", 30.0, 33.31, "sampled"),
    row("efficiency", "decode_bytes_per_second", 800.0, 1000.0, "batch 8"),
    row("efficiency", "decode_tokens_per_second", 496.22, 619.77, "batch 8"),
]


def write(path, suite, labels, tokens=(10, 10), **more):
    n = len(tokens)
    items = {"dataset": ["d"] * n, "condition": [""] * n, "language": ["en"] * n, "domain": ["web"] * n, "id": list("ab")[:n]}
    write_result(
        path, suite=suite, labels=labels, settings={}, items=pa.table({**items, "tokens": tokens}), metrics=[], digests={}, versions={},
        device="cpu", precision="float32", seconds=1.0, more=more,
    )  # fmt: skip
    return str(path)


def sized(folder, origin="measured", rows=400):
    sizes = {"embedding_parameters": 0, "hidden_size": 10}
    folder.mkdir()
    return [
        Entry(path, "stage", None, origin)
        for path in (
            write(folder / "a.json", "efficiency", SOURCE, **sizes, parameters=1000, embedding_rows=100),
            write(folder / "b.json", "efficiency", ADAPTED, **sizes, parameters=1000, embedding_rows=rows),
            write(folder / "c.json", "perplexity", SOURCE, (25, 25)),
            write(folder / "d.json", "perplexity", ADAPTED, (20, 20)),
        )
    ]


def test_values_by_hand_with_their_caveat():
    found = composite_rows(ROWS, [])
    assert {row["level"] for row in found} == {"exploratory"}
    assert {row["suite"] for row in found} == {"composite"}
    assert all(row.get("p") is None and row.get("verdict") is None for row in found)
    values = {(row["metric"], row["condition"]): row["value"] for row in found}
    assert values["chrf_e_bytes", "greedy, batch 8"] == pytest.approx(37.7 * 0.8)
    assert values["chrf_e_tokens", "greedy, batch 8"] == pytest.approx(30.18, abs=0.01)  # as published
    assert values["fertility_trap", "greedy, batch 8"] == 1  # chrF++ rose, with its speed it fell
    assert values["fertility_trap", "sampled, batch 8"] == 0  # chrF++ fell
    assert len(values) == 6


def test_speeds_of_another_system_are_not_taken():
    other = [{**each, "seed": 2} if each["suite"] == "efficiency" else each for each in ROWS]
    assert composite_rows(other, []) == []


def test_costs_are_those_of_this_run(tmp_path):
    """A merged result of the same names has other sizes."""
    entries = [*sized(tmp_path / "own"), *sized(tmp_path / "theirs", "merged", rows=100)]
    values = {row["metric"]: row["value"] for row in composite_rows(ROWS[:1] + ROWS[2:], entries)}
    assert values["fertility_trap_condition"] == (400 / 100 > 50 / 40 * 1000 / (10 * 100))
    assert values["costs_more"] == (40 * (1000 + 10 * 400) > 50 * (1000 + 10 * 100))
