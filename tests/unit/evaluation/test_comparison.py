"""Comparisons of results written by hand: differences, tests, criteria, seeds, published and merged numbers."""

import csv
import json

import numpy as np
import pyarrow as pa
import pytest
import yaml
from commands.evaluation import compare_models
from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.evaluation.comparison import Entry, compare, judge, merged_entries, over_seeds, published_rows, runs, system_names
from tokalign.evaluation.composite import DecodingCost, chrf_e, fertility_trap
from tokalign.evaluation.results import Measure, metrics_of, read_result, write_result
from tokalign.evaluation.statistics.bootstrap import JACKKNIFE_GROUPS

SETTINGS = {"resamples": 400, "seed": 1, "significance": 0.05}
BITS = Measure("bits_per_byte", "ratio", ("nll", "bytes"), "bits/byte", "lower")
SOURCE = {"model": "m", "tokenizer": "old", "stage": "source"}
ADAPTED = {"model": "m", "tokenizer": "new", "corpus": "c", "alignment": "fit", "recipe": "r", "seed": 1, "stage": "last"}
RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(50, 500, 60)
NLL = BYTES * RANDOM.uniform(0.5, 1.5, 60)


def write(
    path, labels, nll, languages=("en", "de"), suite="perplexity", measures=(BITS,), metrics=None, ids=None, settings=None,
    columns=None, device="cpu", **more,
):  # fmt: skip
    n = len(nll)
    items = pa.table(
        {
            "dataset": ["heldout"] * n, "condition": [""] * n, "language": [languages[i % len(languages)] for i in range(n)],
            "domain": ["web"] * n, "id": ids or [f"d{i}" for i in range(n)], "nll": np.asarray(nll, dtype=float), "bytes": BYTES[:n],
            "tokens": BYTES[:n] // 4, **(columns or {}),
        }
    )  # fmt: skip
    write_result(
        path, suite=suite, labels=labels, settings=settings or {}, items=items, metrics=metrics or metrics_of(items, measures, "documents"),
        digests={"model": "0" * 64}, versions={}, device=device, precision="float32", seconds=2.0, more=more,
    )  # fmt: skip
    return str(path)


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "source.json", SOURCE, NLL)


def test_differences_tests_and_verdicts_by_language(tmp_path, source):
    worse = NLL * np.where(np.arange(60) % 2 == 0, 1.0, 1.2)  # the German documents, which are the odd ones
    adapted = write(tmp_path / "adapted.json", ADAPTED, worse)
    rows = compare([Entry(source, "source", None), Entry(adapted, "adapted", source)], "e", SETTINGS)
    assert [(row["system"], row["language"]) for row in rows[:4]] == [
        ("source", "all"),
        ("source", "de"),
        ("source", "en"),
        ("last", "all"),
    ]
    assert all(row.get("difference") is None for row in rows[:3])
    whole, german, english = rows[3:]
    assert german["relative_difference"] == pytest.approx(0.2)
    assert whole["difference"] == pytest.approx((worse.sum() - NLL.sum()) / BYTES.sum())
    assert whole["difference_ci_low"] < whole["difference"] < whole["difference_ci_high"]
    assert english["difference"] == 0
    assert english["p"] == 1
    assert (whole["verdict"], german["verdict"], english["verdict"]) == ("worse", "worse", "no difference")
    assert whole["tests"] == 3
    assert whole["p_corrected"] >= whole["p"]
    assert whole["baseline"] == "source"


def test_cohens_d_is_of_documents_with_pooled_deviation(tmp_path, source):
    adapted = write(tmp_path / "adapted.json", ADAPTED, NLL + 0.1 * BYTES)
    row = compare([Entry(source, "source", None), Entry(adapted, "adapted", source)], "e", SETTINGS)[3]
    assert row["cohens_d"] == pytest.approx(0.1 / np.std(NLL / BYTES, ddof=1))


def test_other_items_are_refused(tmp_path, source):
    fewer = write(tmp_path / "fewer.json", ADAPTED, NLL[:-1])
    with pytest.raises(ArtifactError, match="not the same items") as error:
        compare([Entry(source, "source", None), Entry(fewer, "adapted", source)], "e", SETTINGS)
    assert "d59" in str(error.value)


def test_other_text_behind_the_same_names_is_refused(tmp_path):
    texts = [f"text {i}" for i in range(60)]
    source = write(tmp_path / "a.json", SOURCE, NLL, suite="choices", columns={"question": texts})
    other = write(tmp_path / "b.json", ADAPTED, NLL, suite="choices", columns={"question": [*texts[:-1], "changed"]})
    with pytest.raises(ArtifactError, match="not the same items") as error:
        compare([Entry(source, "source", None), Entry(other, "adapted", source)], "e", SETTINGS)
    assert "another `question`" in str(error.value) and "d59" in str(error.value)


def test_speeds_of_different_machines_are_not_compared(tmp_path, caplog):
    rates = Measure("rate", "ratio", ("nll", "bytes"), "bytes/s", "higher")
    make = {"suite": "efficiency", "measures": (rates,), "languages": ("all",)}
    source = write(tmp_path / "a.json", SOURCE, NLL, **make, device="A", threads=4)
    other = write(tmp_path / "b.json", ADAPTED, NLL, **make, device="B", threads=4)
    same = write(tmp_path / "c.json", {**ADAPTED, "seed": 2}, NLL, **make, device="A", threads=2)  # on a GPU these change nothing
    entries = [Entry(source, "source", None), Entry(other, "adapted", source), Entry(same, "adapted", source)]
    rows = compare(entries, "e", SETTINGS)
    assert [row.get("difference") for row in rows] == [None, None, 0]
    assert "device: A and B" in caplog.text


def test_results_of_another_form_are_refused(tmp_path, source):
    content = json.loads((tmp_path / "source.json").read_text())
    for change, message in (
        ({"more": None}, "no more"),
        ({"metrics": [{"metric": "bits_per_byte", "value": 1.0}]}, r"no metrics\[\]\.dataset"),
    ):
        old = {key: value for key, value in {**content, **change}.items() if value is not None}
        (tmp_path / "old.json").write_text(json.dumps(old))
        with pytest.raises(ArtifactError, match=message):
            read_result(tmp_path / "old.json")


def test_a_tokenizer_that_replaces_those_of_two_models_is_compared_with_both(tmp_path):
    labels = [{"tokenizer": name} for name in ("a", "b", "new")]
    paths = [
        write(tmp_path / f"{own['tokenizer']}.json", own, NLL * factor, suite="tokenizers")
        for own, factor in zip(labels, (1.0, 2.0, 1.5), strict=True)
    ]
    entries = [Entry(paths[0], "tokenizer", None), Entry(paths[2], "tokenizer", paths[0]),
               Entry(paths[1], "tokenizer", None), Entry(paths[2], "tokenizer", paths[1])]  # fmt: skip
    rows = [row for row in compare(entries, "e", SETTINGS) if row["language"] == "all"]
    assert [(row["system"], row.get("baseline")) for row in rows] == [
        ("a", None), ("new", "a"), ("b", None), ("new (beside b)", "b"),
    ]  # fmt: skip
    assert [row["verdict"] for row in rows] == [None, "worse", None, "better"]
    assert len(runs(entries)) == 3


def replicated(value, values, kind):
    metric = {"metric": "distinct_2", "dataset": "p", "condition": "greedy", "language": "en", "domain": "web", "value": value}
    return [{**metric, "ci95": None, "n": 4, "items": "prompts", "unit": "share", "better": "higher", "level": "corpus",
             "replicates": {"kind": kind, "values": list(values)}}]  # fmt: skip


def test_replicates_of_the_same_groups_are_compared_in_pairs(tmp_path):
    first = RANDOM.normal(0.5, 0.01, JACKKNIFE_GROUPS)
    base = write(tmp_path / "a.json", SOURCE, NLL, metrics=replicated(0.5, first, "jackknife"))
    own = write(tmp_path / "b.json", ADAPTED, NLL, metrics=replicated(0.6, first + 0.1, "jackknife"))
    row = compare([Entry(base, "source", None), Entry(own, "adapted", base)], "e", SETTINGS)[1]
    assert row["difference"] == pytest.approx(0.1)  # the same in every group, so there is no doubt
    assert row["difference_ci_high"] - row["difference_ci_low"] == pytest.approx(0, abs=1e-9)


def test_repeated_runs_are_compared_by_welch(tmp_path):
    from scipy.stats import ttest_ind

    first, second = RANDOM.normal(10, 1, 5), RANDOM.normal(11, 2, 7)
    base = write(tmp_path / "a.json", SOURCE, NLL, metrics=replicated(first.mean(), first, "repeats"))
    own = write(tmp_path / "b.json", ADAPTED, NLL, metrics=replicated(second.mean(), second, "repeats"))
    row = compare([Entry(base, "source", None), Entry(own, "adapted", base)], "e", SETTINGS)[1]
    expected = ttest_ind(second, first, equal_var=False)
    assert row["p"] == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (row["difference_ci_low"], row["difference_ci_high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))


def criterion(**changes):
    own = {
        "name": "kept",
        "suite": "perplexity",
        "metric": "bits_per_byte",
        "dataset": None,
        "condition": None,
        "language": "en",
        "domain": None,
    }
    return {**own, **changes}


def test_criteria_pass_fail_and_name_what_is_missing(tmp_path, source):
    adapted = write(tmp_path / "adapted.json", ADAPTED, NLL * 1.04)
    rows = compare([Entry(source, "source", None), Entry(adapted, "adapted", source)], "e", SETTINGS)
    kept, lost = judge(rows, [criterion(relative_loss=0.05), criterion(relative_loss=0.03)])
    assert (kept["passed"], kept["loss"], kept["system"]) == (True, pytest.approx(0.04), "last")
    assert (lost["passed"], lost["certain"]) == (False, True)
    (absolute,) = judge(rows, [criterion(absolute_loss=0.5)])
    assert absolute["loss"] == pytest.approx(rows[5]["difference"])
    with pytest.raises(ConfigurationError, match="nothing was measured") as error:
        judge(rows, [criterion(metric="accuracy", relative_loss=0.05)])
    assert "bits_per_byte" in str(error.value)


def test_a_relative_criterion_of_a_baseline_of_zero(tmp_path):
    empty = Measure("empty_rate", "ratio", ("nll", "bytes"), "%", "lower")
    make = {"suite": "translation", "measures": (empty,)}
    source = write(tmp_path / "a.json", SOURCE, 0 * NLL, **make)
    same = write(tmp_path / "b.json", ADAPTED, 0 * NLL, **make)
    more = write(tmp_path / "c.json", {**ADAPTED, "seed": 2}, NLL, **make)
    rows = compare([Entry(source, "source", None), Entry(same, "adapted", source), Entry(more, "adapted", source)], "e", SETTINGS)
    outcomes = judge(rows, [criterion(suite="translation", metric="empty_rate", relative_loss=0.05)])
    assert [(outcome["loss"], outcome["passed"]) for outcome in outcomes] == [(0.0, True), (None, False)]
    json.dumps(outcomes, allow_nan=False)  # infinity could not be written


def test_a_gain_is_a_negative_loss_where_more_is_better(tmp_path):
    more = Measure("accuracy", "ratio", ("nll", "bytes"), "share", "higher")
    source = write(tmp_path / "a.json", SOURCE, NLL, suite="choices", measures=(more,))
    adapted = write(tmp_path / "b.json", ADAPTED, NLL * 1.1, suite="choices", measures=(more,))
    rows = compare([Entry(source, "source", None), Entry(adapted, "adapted", source)], "e", SETTINGS)
    (outcome,) = judge(rows, [criterion(suite="choices", metric="accuracy", relative_loss=0.0)])
    assert outcome["loss"] == pytest.approx(-0.1)
    assert outcome["passed"]


def test_mean_and_deviation_over_seeds(tmp_path, source):
    paths = [
        write(tmp_path / f"{seed}.json", {**ADAPTED, "seed": seed}, NLL * factor)
        for seed, factor in ((1, 1.0), (2, 1.1), (3, 1.2))
    ]
    rows = compare([Entry(source, "source", None), *(Entry(path, "adapted", source) for path in paths)], "e", SETTINGS)
    assert [row["system"] for row in rows[3::3]] == ["last seed 1", "last seed 2", "last seed 3"]
    whole = next(row for row in over_seeds(rows) if row["language"] == "all")
    values = NLL.sum() / BYTES.sum() * np.array([1.0, 1.1, 1.2])
    assert (whole["mean"], whole["deviation"], whole["seeds"]) == (
        pytest.approx(values.mean()),
        pytest.approx(values.std(ddof=1)),
        3,
    )


def test_systems_are_named_by_what_tells_them_apart():
    start = {**ADAPTED, "recipe": None, "seed": None, "stage": "initialized"}
    labeled = [("source", SOURCE), ("initialized", start), ("baseline", {**start, "alignment": "random"}), ("adapted", ADAPTED)]
    assert system_names(labeled) == ["source", "initialized: fit", "initialized: random", "last"]
    labeled += [
        ("source", {**SOURCE, "model": "n"}),
        ("adapted", {**ADAPTED, "model": "n", "tokenizer": "other", "alignment": "x"}),
    ]
    assert system_names(labeled) == [
        "m source", "m new initialized: fit", "m new initialized: random", "m new fit last", "n source", "n other x last",
    ]  # fmt: skip
    assert len(set(system_names(labeled))) == len(labeled)
    assert system_names([("tokenizer", {"tokenizer": "old"})]) == ["old"]


def test_published_numbers_are_marked_and_checked(tmp_path):
    file = tmp_path / "published.csv"
    file.write_text("system,suite,metric,value,citation,language\nPythia,tokenizers,fertility,2.06,Somebody 2025,es\n")
    (row,) = published_rows(file, "e")
    assert (row["origin"], row["value"], row["system"], row["language"]) == (
        "published",
        2.06,
        "Pythia (published: Somebody 2025)",
        "es",
    )
    for text, message in (
        ("system,suite,metric,value\nP,t,f,1\n", "no column citation"),
        ("system,suite,metric,value,citation,typo\n", "unknown column typo"),
        ("system,suite,metric,value,citation\nP,t,f,many,X\n", "line 2: value is no number"),
        ("system,suite,metric,value,citation\nP,t,f,1,\n", "line 2: no citation"),
        ("system,suite,metric,value,citation\nP,t,f,nan,X\n", "line 2: value is no number"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            published_rows(file, "e")


def test_shipped_published_numbers_have_the_names_and_units_of_ours():
    from support.project import ROOT
    from tokalign.evaluation.suites import generation, translation

    ours = {measure.metric: measure.unit for measure in (*translation.MEASURES, *generation.MEASURES)}
    ours |= {"perplexity": "per answer"} | dict.fromkeys(("acc", "acc_norm"), "mean per question")
    preset = yaml.safe_load((ROOT / "config/presets/tokalign-baseline.yaml").read_text())["evaluations"]["wikipedia"]
    directions = {"{testset}:{source}-{target}".format(**direction) for direction in preset["translation"]["directions"]}
    for file in preset["comparison"]["references"]:
        for row in published_rows(ROOT / file, "e"):
            if row["suite"] in ("tasks", "translation"):
                assert row["unit"] == ours.get(row["metric"], row["unit"]), row
                assert row["dataset"] in (directions if row["suite"] == "translation" else preset["tasks"]["names"])


def test_results_of_another_run_are_merged(tmp_path, source):
    other = tmp_path / "other" / "perplexity"
    write(other / "same.json", {**ADAPTED, "stage": "theirs"}, NLL * 1.1)
    write(other / "fewer.json", {**ADAPTED, "stage": "fewer"}, NLL[:9])
    measured = [Entry(source, "source", None)]
    entries = [*measured, *merged_entries(tmp_path / "other", measured)]
    rows = [row for row in compare(entries, "e", SETTINGS) if row["language"] == "all"]
    assert [(row["origin"], row.get("difference") is not None) for row in rows] == [
        ("measured", False),
        ("merged", False),
        ("merged", True),
    ]
    assert rows[2]["relative_difference"] == pytest.approx(0.1)
    assert rows[2]["system"].endswith(f"(merged: {tmp_path / 'other'})")
    with pytest.raises(InputError, match="no results"):
        list(merged_entries(tmp_path / "none", measured))


def test_merged_results_of_two_runs_have_names_of_their_own(tmp_path, source):
    measured = [Entry(source, "source", None)]
    for name in ("first", "second"):
        write(tmp_path / name / "perplexity" / "same.json", ADAPTED, NLL)
    entries = [*measured, *(entry for name in ("first", "second") for entry in merged_entries(tmp_path / name, measured))]
    assert len({row["system"] for row in compare(entries, "e", SETTINGS)}) == 3
    with pytest.raises(InputError, match="takes part already"):
        list(merged_entries(tmp_path / "first", entries))


def test_merged_results_are_compared_with_our_source_model(tmp_path, source):
    """Not with that of a run that was merged before, which has the same name."""
    write(tmp_path / "first" / "source.json", SOURCE, NLL * 2)
    write(tmp_path / "second" / "adapted.json", ADAPTED, NLL * 1.1)
    entries = [Entry(source, "source", None)]
    for name in ("first", "second"):
        entries += merged_entries(tmp_path / name, entries)
    rows = [row for row in compare(entries, "e", SETTINGS) if row["language"] == "all"]
    assert [row.get("relative_difference") for row in rows] == [None, pytest.approx(1.0), pytest.approx(0.1)]


def test_merged_results_of_other_settings_are_shown_without_a_difference(tmp_path, source, caplog):
    measured = [Entry(source, "source", None)]
    folder = tmp_path / "other"
    write(folder / "perplexity" / "window.json", ADAPTED, NLL, settings={"window": 8, "batch_tokens": 1})
    write(folder / "perplexity" / "x.json", {**ADAPTED, "seed": 2}, NLL, settings={"batch_tokens": 1})
    rows = compare([*measured, *merged_entries(folder, measured)], "e", SETTINGS)
    assert [row.get("difference") for row in rows if row["language"] == "all"] == [None, None, 0]
    assert "settings: window None and 8" in caplog.text


def test_composites_by_hand():
    assert chrf_e(33.31, 496.22, 619.77) == pytest.approx(26.67, abs=0.01)
    source, new = DecodingCost(100, 1000, 10, 50), DecodingCost(400, 1000, 10, 40)
    assert (source.per_text, new.per_text) == (50 * 2000, 40 * 5000)
    trap = fertility_trap(33.31, 37.70, 30.18, source, new)  # the published case
    assert (trap.holds, trap.slower) == (True, True)
    assert trap.analytic == (400 / 100 > 50 / 40 * 1000 / 1000)
    assert not fertility_trap(33.0, 32.0, 30.0).holds  # quality did not rise
    assert fertility_trap(33.0, 34.0, 33.5).analytic is None


def test_command(tmp_path, source, run_script):
    adapted = write(tmp_path / "adapted.json", ADAPTED, NLL * 1.04)
    entries = [{"path": source, "role": "source", "baseline": None}, {"path": adapted, "role": "adapted", "baseline": source}]
    published = tmp_path / "p.csv"
    published.write_text("system,suite,metric,value,citation\nP,perplexity,bits_per_byte,1,X 2025\n")
    settings = {**SETTINGS, "criteria": [criterion(relative_loss=0.05)], "references": [str(published)], "merge": []}
    words = ["--evaluation", "e", "--plan", json.dumps({"entries": entries}), "--output", tmp_path / "out.json", "--settings"]
    assert run_script(compare_models, *words, json.dumps(settings))[0] == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["origin"] for row in found["rows"]] == ["measured"] * 6 + ["published"]
    assert found["criteria"][0]["passed"]
    assert found["runs"][1]["seconds"] == 2.0
    settings["criteria"][0]["metric"] = "accuracy"
    status, shown = run_script(compare_models, *words, json.dumps(settings))
    assert status == 1
    assert "criterion 'kept'" in shown


def test_csv_is_read_with_any_order_of_columns(tmp_path):
    with (tmp_path / "p.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["citation", "value", "metric", "suite", "system"], ["X", "1", "m", "s", "P"]])
    assert published_rows(tmp_path / "p.csv", "e")[0]["metric"] == "m"
