"""Tables from result files written by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands.report import make_tables
from support.project import ROOT
from tokalign.common.errors import ArtifactError
from tokalign.report.tables import files, results


def result(stage, value, alignment=None, recipe=None, seed=None, tokenizer="new", corpus="c"):
    labels = {
        "evaluation": "e", "model": "m", "tokenizer": tokenizer, "corpus": corpus, "alignment": alignment, "recipe": recipe,
        "seed": seed, "stage": stage,
    }  # fmt: skip
    whole = {"metric": "bits_per_byte", "language": "all", "domain": "all", "value": value, "n": 2}
    whole["ci95"] = [value - 0.1, value + 0.1]
    german = {**whole, "language": "de", "domain": "web", "value": value + 1, "ci95": None}
    shared = {**whole, "metric": "normalized_perplexity"}
    own = {**whole, "metric": "perplexity", "value": 9.0}
    return {"labels": labels, "metrics": [whole, german, shared, own]}


RESULTS = [
    result("source", 1.0, tokenizer="old", corpus=None),
    result("initialized", 4.0, "random"),
    result("initialized", 2.0, "full"),
    result("warm", 1.5, "full", "r", 1),
    result("main", 1.25, "full", "r", 1),
    result("warm", 1.75, "full", "r", 2),
    result("initialized", 3.0, "full", tokenizer="other"),
]


def test_perplexity_rows():
    rows = results.perplexity_rows(RESULTS[:2])
    assert [(r["stage"], r["language"], r["bits_per_byte"], r["ci_low"]) for r in rows] == [
        ("source", "all", 1.0, 0.9),
        ("source", "de", 2.0, None),
        ("initialized", "all", 4.0, 3.9),
        ("initialized", "de", 5.0, None),
    ]
    assert set(rows[0]) == set(results.PERPLEXITY)


def test_stages_side_by_side():
    columns, rows = results.stage_rows(results.perplexity_rows(RESULTS))
    assert columns[9:] == ["source", "initialized:random", "initialized", "warm", "main"]
    seen = [(r["tokenizer"], r["seed"], r["language"], [r.get(c) for c in columns[9:]]) for r in rows]
    assert seen == [
        ("new", 1, "all", [1.0, 4.0, 2.0, 1.5, 1.25]),
        ("new", 1, "de", [2.0, 5.0, 3.0, 2.5, 2.25]),
        ("new", 2, "all", [1.0, 4.0, 2.0, 1.75, None]),
        ("new", 2, "de", [2.0, 5.0, 3.0, 2.75, None]),
        ("other", None, "all", [1.0, None, 3.0, None, None]),
        ("other", None, "de", [2.0, None, 4.0, None, None]),
    ]


def test_source_alone():
    columns, rows = results.stage_rows(results.perplexity_rows(RESULTS[:1]))
    assert [r["source"] for r in rows] == [1.0, 2.0]
    assert columns[9:] == ["source", "initialized"]


def test_results_that_cannot_be_told_apart():
    with pytest.raises(ArtifactError, match="same labels"):
        results.perplexity_rows([RESULTS[0], RESULTS[0]])
    with pytest.raises(ArtifactError, match="no stage"):
        results.perplexity_rows([result(None, 1.0)])


def test_csv_round_trip(tmp_path):
    rows = [{"a": 'x,"y"\nz', "b": 1 / 3, "c": None, "d": 12345678, "hidden": 1}, {"a": "nan", "b": 0.0}]
    files.write_csv(tmp_path / "t.csv", ("a", "b", "c", "d"), rows)
    assert files.read_csv(tmp_path / "t.csv") == [
        {"a": 'x,"y"\nz', "b": "0.333333", "c": "", "d": "12345678"},
        {"a": "nan", "b": "0", "c": "", "d": ""},
    ]


def test_metrics_of_a_continued_run(tmp_path):
    lines = [
        {"step": 1, "tokens": 8, "loss": 3.0},
        {"step": 2, "tokens": 16, "loss": 2.5},
        {"step": 2, "tokens": 16, "loss": 2.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [row["loss"] for row in results.read_metrics(tmp_path / "metrics.jsonl")] == [3.0, 2.0]
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "tokens": 8, "loss": 3.0}\n{"step": 2, "lo')
    with pytest.raises(ArtifactError, match="line 2"):
        results.read_metrics(tmp_path / "metrics.jsonl")


def tokenizer_metric(name, value, ci95=None, language="all", domain="all", dataset="validation", items="documents"):
    """A metric of a tokenizer."""
    return {"metric": name, "dataset": dataset, "language": language, "domain": domain, "value": value, "ci95": ci95, "n": 3,
            "items": items}  # fmt: skip


SUMS = {"documents": 3, "bytes": 8, "characters": 8, "words": 2, "tokens": 3, "unknown": 0}
TOKENIZER_RESULT = {
    "labels": {"tokenizer": "t", "corpus": "c"},
    "metrics": [
        tokenizer_metric("fertility", 1.5, [1.0, 2.0]),
        tokenizer_metric("fertility", 1.25, [1.0, 1.5], "de", "web"),
        tokenizer_metric("bytes_per_token", 4.0),
        tokenizer_metric("continued_words", 0.5, [0.25, 0.75]),
        tokenizer_metric("renyi_efficiency", 0.625),
        tokenizer_metric("parity", 2.5, [2.0, 3.0], "ru", "", "flowers", "segments"),
    ],
    "more": {"totals": [{"language": "all", "domain": "all", **SUMS}, {"language": "de", "domain": "web", **SUMS, "tokens": 2}]},
}


def test_tokenizer_rows():
    rows = results.tokenizer_rows([TOKENIZER_RESULT])
    assert [(r["dataset"], r["language"], r.get("documents"), r.get("segments"), r.get("tokens")) for r in rows] == [
        ("validation", "all", 3, None, 3),
        ("validation", "de", 3, None, 2),
        ("flowers", "ru", None, 3, None),
    ]
    assert [r.get("fertility") for r in rows] == [1.5, 1.25, None]
    assert [r.get("fertility_ci_high") for r in rows] == [2.0, 1.5, None]
    assert (rows[0]["continued_words"], rows[0]["renyi_efficiency"]) == (0.5, 0.625)
    assert (rows[2]["parity"], rows[2]["parity_ci_low"], rows[2]["parity_ci_high"]) == (2.5, 2.0, 3.0)
    columns = {"fertility", "continued_words", "renyi_efficiency", "parity", "parity_ci_low", "documents", "segments"}
    assert columns <= set(results.TOKENIZERS)


def score(level, value, ci95):
    """A score of an alignment."""
    why = None if value is not None else "none"
    return {"metric": "bleu_1", "tokens": "all", "level": level, "value": value, "ci95": ci95, "n": 2, "unit": "documents",
            "reason": why}  # fmt: skip


def test_command_writes_all_tables(tmp_path):
    inputs = {"perplexity": RESULTS[0]}
    inputs["tokenizers"] = TOKENIZER_RESULT
    inputs["alignments"] = {
        "labels": {"alignment": "a", "source_tokenizer": "old", "tokenizer": "t"}, "categories": {"aligned": {"tokens": 3, "share": 0.75, "corpus_share": None},
        "exact": {"tokens": 1, "share": 0.25, "corpus_share": None}}, "scores": {"quantiles": {"50": 0.5}},
        "source_tokens_used": 3,
    }  # fmt: skip
    inputs["alignment_scores"] = {
        "labels": {"evaluation": "e", "alignment": "a"}, "metrics": [score("corpus", 0.5, [0.25, 1.0]), score("document", None, None)],
        "groups": [{"language": "de", "domain": "web", "metrics": [score("corpus", 0.75, None), score("document", 0.125, None)]}],
    }  # fmt: skip
    command = [sys.executable, Path(make_tables.__file__)]
    given: dict[str, list[str]] = {}
    for name, value in inputs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        given[name] = [str(tmp_path / f"{name}.json")]
    stage = tmp_path / "stage"
    stage.mkdir()
    line = {"step": 1, "tokens": 8, "loss": 3.0, "learning_rate": 0.1, "grad_norm": None, "extra": 2}
    (stage / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (stage / "training.json").write_text(json.dumps({"labels": {"stage": "warm", "seed": 3}}))
    captions = ROOT / "workflow/report/tables"
    given["stages"] = [str(stage)]
    command += ["--results", "-", "--captions", captions, "--benchmarks", tmp_path / "none", "--folder", tmp_path / "made"]
    subprocess.run(command, check=True, capture_output=True, text=True, input=json.dumps(given))
    made = {path.stem: files.read_csv(path) for path in (tmp_path / "made").glob("*.csv")}
    assert {"comparison", "criteria", "perplexity", "results", "runs", "seeds"} <= set(made)
    assert made["bits_per_byte"][0]["source"] == "1"
    assert (made["tokenizers"][0]["fertility_ci_high"], made["tokenizers"][0]["bytes_per_token_ci_low"]) == ("2", "")
    columns = ("source_tokenizer", "tokenizer", "category", "share", "score_median")
    assert [[row[c] for c in columns] for row in made["alignments"]] == [
        ["old", "t", "aligned", "0.75", "0.5"],
        ["old", "t", "exact", "0.25", ""],
    ]
    columns = ("evaluation", "alignment", "language", "level", "value", "ci_low", "ci_high", "reason")
    assert [[row[c] for c in columns] for row in made["alignment_scores"]] == [
        ["e", "a", "all", "corpus", "0.5", "0.25", "1", ""],
        ["e", "a", "all", "document", "", "", "", "none"],
        ["e", "a", "de", "corpus", "0.75", "", "", ""],
    ]
    assert [made["training"][0][c] for c in ("stage", "seed", "step", "loss", "extra")] == ["warm", "3", "1", "3", "2"]
