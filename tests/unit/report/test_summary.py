"""The five lines, the table side by side, and tables as files, from a comparison written by hand."""

import csv
import json
import shutil
import subprocess

import pytest
from commands.report import write_summary
from tokalign.common.errors import ArtifactError
from tokalign.report.pages import table_page
from tokalign.report.summary import summarize
from tokalign.report.tables.comparison import criteria_rows, run_rows, side_by_side, value_text
from tokalign.report.tables.files import MOST_SHOWN, caption, write_table


def row(system, suite, metric, value, *, language="all", dataset="heldout", condition="", role="adapted", base=None, **more):
    difference = None if base is None else value - base
    return {
        "evaluation": "e", "system": system, "suite": suite, "metric": metric, "value": value, "language": language, "n": 40,
        "domain": "all" if language == "all" else "web", "dataset": dataset, "condition": condition, "role": role, "origin": "measured",
        "model": "m", "tokenizer": "new", "unit": "u", "better": "higher", "items": "documents", "level": "corpus", "ci_low": None,
        "baseline": "old", "baseline_value": base, "difference": difference,
        "relative_difference": None if base is None else difference / base, **more,
    }  # fmt: skip


def comparison(*rows, criteria=(), runs=()):
    return {"evaluation": "e", "rows": list(rows), "criteria": list(criteria), "runs": list(runs), "seeds": []}


ROWS = (
    row("new", "tokenizers", "bytes_per_token", 5.0, role="tokenizer", base=4.0),
    row("new", "tokenizers", "bytes_per_token", 3.0, language="en", role="tokenizer", base=4.0),
    row("new", "tokenizers", "bytes_per_token", 8.0, language="hi", role="tokenizer", base=2.0),
    row("last", "perplexity", "bits_per_byte", 1.1, base=1.0, verdict="worse", difference_ci_low=0.05, difference_ci_high=0.15),
    row("last", "perplexity", "bits_per_byte", 0.9, language="hi", base=1.0),
    row("last", "perplexity", "bits_per_byte", 1.2, language="en", base=1.0),
    row("last", "translation", "bleu", 20.0, dataset="es-en", condition="greedy", base=25.0, verdict="worse"),
    row("last", "choices", "accuracy", 0.5, dataset="qa", condition="bytes", base=0.5, verdict="no difference"),
    row("last", "efficiency", "decode_bytes_per_second", 120.0, dataset="", condition="batch 8", base=100.0),
)


def test_five_lines():
    failed = {"system": "last", "criterion": "English within 5 %", "passed": False}
    ((name, lines),) = summarize(
        comparison(*ROWS, criteria=[failed], runs=[{"suite": "generation", "exploratory": True, "origin": "measured"}])
    )
    assert name == "e: m with new (last)"
    saved, quality, speed, failures, following = (text for _, text in lines)
    assert saved.startswith("20.0 % fewer tokens than old")  # 4 / 5 of the tokens
    assert "from hi (web) -75.0 % to en (web) +33.3 %" in saved
    assert "1.000 -> 1.100 (+10.0 % [+5.0 %, +15.0 %]; more is worse); from hi (web) -10.0 % to en (web) +20.0 %" in quality
    assert "of 2 tested metrics of tasks, translation and generation 0 significantly better, 1 worse, 1 without" in quality
    assert speed == "in bytes per second: writing +20.0 % (batch 8)"
    assert "1 of 1 checks of criteria: English within 5 %" in failures
    assert "2 significant regressions, first of all translation es-en greedy bleu" in failures
    assert "too few items to conclude from: generation" in failures
    assert following.startswith("train longer")


@pytest.mark.parametrize(
    ("bits", "bytes_per_token", "decode", "advice"),
    [
        (1.01, 3.9, 130, "the new tokenizer saves nothing"),
        (1.01, 5.0, 90, "the saved tokens do not pay"),
        (1.01, 5.0, 110, "publish"),
    ],
)
def test_advice_follows_the_numbers(bits, bytes_per_token, decode, advice):
    rows = (
        row("new", "tokenizers", "bytes_per_token", bytes_per_token, role="tokenizer", base=4.0),
        row("last", "perplexity", "bits_per_byte", bits, base=1.0),
        row("last", "efficiency", "decode_bytes_per_second", decode, base=100.0),
    )
    ((_, lines),) = summarize(comparison(*rows))
    assert lines[4][1].startswith(advice)


def test_what_was_not_measured_is_said():
    ((_, lines),) = summarize(comparison(row("last", "perplexity", "bits_per_byte", 1.0, base=1.0)))
    assert [lines[i][1] for i in (0, 2)] == ["not measured", "not measured"]


def test_side_by_side_has_wholes_with_n_intervals_and_signs():
    whole = row("source", "perplexity", "bits_per_byte", 1.0, role="source", ci_low=0.9, ci_high=1.1)
    columns, rows = side_by_side([comparison(whole, ROWS[3], ROWS[4])])
    assert columns[-2:] == ["source", "last"]
    assert len(rows) == 1  # languages are left to other tables
    assert (rows[0]["source"], rows[0]["last"], rows[0]["n"]) == ("1 [0.9, 1.1]", "1.1 -", 40)
    assert value_text({"value": 0.123456, "verdict": "better"}) == "0.1235 +"


def test_a_published_number_stands_beside_the_measured_one_and_hides_none():
    own = row("last", "tasks", "acc", 0.5, dataset="arc", condition="0-shot", language="", level="item", unit="share")
    spanish = row("last", "perplexity", "bits_per_byte", 0.9, language="es")
    theirs = {"origin": "published", "level": None, "role": "published", "unit": "share"}
    same = row("Pythia", "tasks", "acc", 0.6, dataset="arc", condition="0-shot", **theirs)
    percent = row("Other", "tasks", "acc", 60.0, dataset="arc", condition="0-shot", **{**theirs, "unit": "%"})
    of_all = row("Pythia", "perplexity", "bits_per_byte", 0.8, **{**theirs, "unit": None})
    _, rows = side_by_side([comparison(own, spanish, same, percent, of_all)])
    assert [{name: line[name] for name in ("last", "Pythia", "Other") if name in line} for line in rows] == [
        {"last": "0.5", "Pythia": "0.6"}, {"last": "0.9", "Pythia": "0.8"}, {"Other": "60"},
    ]  # fmt: skip


def test_the_tokenizer_is_compared_with_that_of_the_own_source_model():
    rows = [
        row("m source", "perplexity", "bits_per_byte", 1.0, role="source", tokenizer="old"),
        row("n source", "perplexity", "bits_per_byte", 1.0, role="source", tokenizer="older", model="n"),
        row("new", "tokenizers", "bytes_per_token", 5.0, role="tokenizer", base=4.0, model=None),
        row("new (beside older)", "tokenizers", "bytes_per_token", 5.0, role="tokenizer", base=2.5, baseline="older", model=None),
        row("m last", "perplexity", "bits_per_byte", 1.0, base=1.0),
        row("n last", "perplexity", "bits_per_byte", 1.0, base=1.0, model="n"),
    ]
    failed = {"system": "new (beside older)", "criterion": "saves half", "passed": False}
    (_, first), (_, second) = summarize(comparison(*rows, criteria=[failed]))
    assert first[0][1].startswith("20.0 % fewer tokens than old")
    assert second[0][1].startswith("50.0 % fewer tokens than older")
    assert "no criteria" in first[3][1] and "1 of 1 checks of criteria: saves half" in second[3][1]


def test_criteria_and_runs_as_tables():
    _, rows = criteria_rows([comparison(criteria=[{"criterion": "c", "passed": True, "certain": None}])])
    assert (rows[0]["passed"], rows[0]["certain"], rows[0]["evaluation"]) == ("yes", None, "e")
    run = {
        "suite": "s",
        "labels": {"model": "m"},
        "seconds": 1.5,
        "digests": {"model": "a" * 64},
        "exploratory": True,
        "role": "source",
    }
    _, rows = run_rows([comparison(runs=[run])])
    assert (rows[0]["model"], rows[0]["model_sha256"], rows[0]["exploratory"]) == ("m", "a" * 12, "yes")


def test_table_in_four_forms(tmp_path):
    rows = [{"a": 1.25, "b": "x & y_z | <b>", "c": None}, {"a": None, "b": "50 %", "c": None}]
    write_table(tmp_path, "two_words", "About 100 % of it.", ("a", "b", "c"), rows)
    with (tmp_path / "two_words.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["a", "b", "c"], ["1.25", "x & y_z | <b>", ""], ["", "50 %", ""]]
    markdown = (tmp_path / "two_words.md").read_text()
    assert markdown.startswith("# Two words\n\nAbout 100 % of it.\n\n| a ")
    assert " c " not in markdown  # empty in all rows
    latex = (tmp_path / "two_words.tex").read_text()
    assert r"\toprule" in latex
    assert r"x \& y\_z | <b>" in latex
    assert r"\caption{About 100 \% of it.}" in latex
    page = (tmp_path / "two_words.html").read_text()
    assert "x &amp; y_z | &lt;b&gt;" in page
    assert "http" not in page  # nothing is fetched


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(tmp_path):
    write_table(tmp_path, "t", "a_b ~ ^ \\ {x}", ("a",), [{"a": "1 \\ ~"}])
    text = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{t.tex}\end{document}"
    (tmp_path / "page.tex").write_text(text)
    subprocess.run(["pdflatex", "-halt-on-error", "page.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_long_tables_are_cut_where_they_are_shown_and_whole_where_they_are_computed_with(tmp_path):
    write_table(tmp_path, "t", "About.", ("a",), [{"a": i} for i in range(MOST_SHOWN + 5)])
    assert "5 more rows are in t.csv" in (tmp_path / "t.md").read_text()
    assert len((tmp_path / "t.csv").read_text().splitlines()) == MOST_SHOWN + 6
    assert (tmp_path / "t.html").read_text().count("<tr>") == MOST_SHOWN + 6


def test_page_escapes_its_title():
    assert "<script>x" not in table_page("<script>x", "a", ["b"], [["c"]])


def test_a_table_without_caption_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        caption(tmp_path, "t")
    (tmp_path / "t.rst").write_text("A ``b``\nc.\n")
    assert caption(tmp_path, "t") == "A b c."


def test_command(tmp_path, run_script):
    (tmp_path / "c.json").write_text(json.dumps(comparison(*ROWS)))
    words = ["--comparisons", tmp_path / "c.json", "--markdown", tmp_path / "s.md", "--page", tmp_path / "s.html"]
    assert run_script(write_summary, *words)[0] == 0
    assert "1. **Tokens saved:** 20.0 % fewer" in (tmp_path / "s.md").read_text()
    assert "<li><b>Tokens saved:</b> 20.0 % fewer" in (tmp_path / "s.html").read_text()
