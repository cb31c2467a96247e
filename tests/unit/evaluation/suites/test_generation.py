"""Diversity and repetition against brute force, and prompts that do not depend on the model."""

import json
import logging
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands.evaluation import generate_text
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU
from support.settings import altered, unchecked
from support.writing import TEXTS, write_writer
from tokalign.common.errors import ArtifactError
from tokalign.evaluation.data.testsets import Testset, write_testset
from tokalign.evaluation.results import read_items, read_result
from tokalign.evaluation.suites.generation import (
    GenerationSettings,
    beginning,
    choose_prompts,
    distinct_ngrams,
    hashed,
    items_of,
    pooled_metrics,
    read_prompts,
    repetition_rate,
    repetition_within,
    self_bleu,
)
from tokalign.models.writing import Written
from tokalign.text.languages import words_of

SETTINGS = unchecked(
    GenerationSettings, testset=None, prompts=1000, prompt_characters=40, max_new_tokens=8, self_bleu_references=5, batch_tokens=2000,
    decodings={}, document_start="eos", precision="float32", trust_remote_code=False,
)  # fmt: skip
SENTENCES = st.lists(st.text("abc ", max_size=30), min_size=1, max_size=12)


def pooled(texts, order):
    """All n-grams of all texts, one by one."""
    return [tuple(words[i : i + order]) for words in texts for i in range(len(words) - order + 1)]


def distinct(texts, order):
    grams = pooled(texts, order)
    return len(set(grams)) / len(grams) if grams else float("nan")


def repeated(texts):
    times = Counter(pooled(texts, 4))
    return sum(count > 1 for count in times.values()) / len(times) if times else float("nan")


@given(SENTENCES, st.integers(1, 4), st.integers(1, 4))
def test_distinct_and_repetition_by_brute_force(sentences, order, parts):
    texts = [list(sentence.replace(" ", "")) for sentence in sentences]
    groups = np.unique(np.arange(len(texts)) % parts, return_inverse=True)[1]
    left = [texts] + [[t for t, g in zip(texts, groups, strict=True) if g != out] for out in range(groups.max() + 1)]
    assert distinct_ngrams(texts, groups, order) == pytest.approx([distinct(some, order) for some in left], nan_ok=True)
    assert repetition_rate(texts, groups) == pytest.approx([repeated(some) for some in left], nan_ok=True)


def test_by_hand():
    texts = [text.split() for text in ("a b c d a b c d", "a b c d", "x")]
    one = np.zeros(3, dtype=int)
    assert distinct_ngrams(texts, one, 1)[0] == 5 / 13
    assert distinct_ngrams(texts, one, 2)[0] == 4 / 10
    assert repetition_rate(texts, one)[0] == 1 / 4  # abcd of abcd, bcda, cdab, dabc
    assert [repetition_within(text) for text in texts] == [1 / 5, 0, 0]
    assert words_of("我 喜欢", "zh") == ["我", "喜", "欢"]


@pytest.mark.parametrize(("language", "tokenizer"), [("en", "13a"), ("zh", "zh"), ("th", "char")])
def test_self_bleu_against_sacrebleu(language, tokenizer):
    texts = [text.replace("\n", " ") for text in TEXTS[:7]] + ["", "the cat", TEXTS[0].replace("\n", " ")]
    names = [str(i) for i in range(len(texts))]
    scorer = BLEU(effective_order=True, tokenize=tokenizer)
    expected = [scorer.sentence_score(text, texts[:i] + texts[i + 1 :]).score for i, text in enumerate(texts)]
    assert self_bleu(texts, names, language, 50).tolist() == pytest.approx(expected, abs=1e-12)
    assert expected[0] == pytest.approx(100)  # the same text is among the others
    assert expected[7] == 0


def test_references_of_self_bleu_are_so_many_and_seeded():
    """Against the first five, as published, the value would depend on which texts come first."""
    texts = [f"{a} {b} the cat sat on {c}" for a in "xyz" for b in "uvw" for c in "mn"]
    names = [f"p{i}" for i in range(len(texts))]
    found = self_bleu(texts, names, "en", 4)
    assert self_bleu(texts, names, "en", 4).tolist() == found.tolist()
    scorer = BLEU(effective_order=True)
    first_five = [scorer.sentence_score(t, [o for j, o in enumerate(texts) if j != i][:4]).score for i, t in enumerate(texts)]
    assert found.tolist() != pytest.approx(first_five)
    everything = self_bleu(texts, names, "en", 17)
    assert (found <= everything + 1e-9).all()
    assert found.mean() < everything.mean()
    assert np.isnan(self_bleu(texts[:1], names[:1], "en", 4)).all()


def test_beginnings_of_documents():
    assert beginning("one two three four five six", 9) == "one two"  # "one two t" is cut before the word
    assert beginning("one two three four five six", 7) == "one two"
    assert beginning("one two three four five six", 1000) == "one two three"  # half of it
    assert beginning("字" * 100, 30) == "字" * 30
    assert beginning("x", 30) == ""


def test_prompts_are_spread_over_languages():
    rows = [
        {"id": f"{lang}{i}", "text": "t", "language": lang, "domain": "d"}
        for lang, n in (("de", 3), ("en", 50))
        for i in range(n)
    ]
    chosen = choose_prompts(rows, 10)
    assert Counter(row["language"] for row in chosen) == {"de": 3, "en": 7}
    assert chosen == choose_prompts(rows[::-1], 10)
    english = sorted((row["id"] for row in rows if row["language"] == "en"), key=hashed)
    assert [row["id"] for row in chosen if row["language"] == "en"] == english[:7]
    assert len(choose_prompts(rows, 1000)) == 53


def prompts_of(count):
    return [{"id": f"d{i}", "text": "the", "language": "en" if i % 2 else "zh", "domain": "general"} for i in range(count)]


def test_metrics_of_groups_with_jackknife_intervals():
    outputs = [" ".join(np.random.default_rng(i).choice(list("abcdefgh"), 20)) for i in range(60)]
    outputs[7] = ""
    written = [Written(text=text, tokens=3, ended=False, prompt_cut=False) for text in outputs]
    items = pa.table(items_of("heldout", "greedy", prompts_of(60), written, 5))
    assert items["empty"].to_pylist() == [0] * 7 + [1] + [0] * 52
    metrics = {(metric["metric"], metric["language"]): metric for metric in pooled_metrics(items)}
    texts = [text.split() for text in outputs]
    groups = [hashed(f"d{i}") % 20 for i in range(60)]
    for name, function in (("distinct_2", lambda t: distinct(t, 2)), ("repetition_rate", repeated)):
        for language, kept in (("all", range(60)), ("en", range(1, 60, 2))):
            metric = metrics[name, language]
            assert metric["value"] == pytest.approx(100 * function([texts[i] for i in kept]))
            left = [100 * function([texts[i] for i in kept if groups[i] != g]) for g in sorted({groups[i] for i in kept})]
            assert metric["replicates"]["values"] == pytest.approx(left)
            error = np.sqrt((len(left) - 1) / len(left) * ((np.array(left) - np.mean(left)) ** 2).sum())
            assert metric["ci95"] == pytest.approx([metric["value"] - 1.959964 * error, metric["value"] + 1.959964 * error])
            assert metric["n"] == len(kept)


def test_nothing_written_has_no_value():
    written = [Written(text="", tokens=0, ended=True, prompt_cut=False)] * 6
    items = pa.table(items_of("heldout", "greedy", prompts_of(6), written, 5))
    for metric in pooled_metrics(items):
        assert metric["value"] is None
        assert metric["ci95"] is None
    assert items["self_bleu"].to_pylist() == [0] * 6


def write_documents(path, count=30):
    texts = [TEXTS[i % 20] + f" {i}" for i in range(count)]
    columns = {
        "id": [f"d{i}" for i in range(count)], "text": texts, "language": ["en" if i % 3 else "ja" for i in range(count)],
        "domain": ["web"] * count, "bytes": pa.array([len(text.encode()) for text in texts], pa.int32()),
    }  # fmt: skip
    pq.write_table(pa.table(columns), path)


def test_reading_prompts(tmp_path, caplog):
    write_documents(tmp_path / "documents.parquet")
    with caplog.at_level(logging.WARNING):
        rows = read_prompts(tmp_path / "documents.parquet", SETTINGS)
    assert "30 prompts: results are exploratory below 1000" in caplog.text  # nine prompts once made a headline
    assert all(len(row["text"]) <= 40 and TEXTS[int(row["id"][1:]) % 20].startswith(row["text"]) for row in rows)
    named = altered(SETTINGS, testset="questions")
    testset = Testset("questions", "prompts", "de", "news", pa.table({"id": ["a", "b"], "text": ["one", " "]}))
    write_testset(tmp_path / "items.parquet", testset)
    assert read_prompts(tmp_path / "items.parquet", named) == [{"id": "a", "text": "one", "language": "de", "domain": "news"}]
    assert "1 of 2 prompts have no text" in caplog.text
    with pytest.raises(ArtifactError, match="no such file"):
        read_prompts(tmp_path / "none.parquet", named)
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ArtifactError, match="does not say what test set it is"):
        read_prompts(tmp_path / "other.parquet", named)


def test_script(tmp_path, run_script):
    write_writer(tmp_path / "model")
    write_documents(tmp_path / "documents.parquet")
    decodings = {"greedy": {"temperature": 0, "top_p": 1, "seed": 1}, "nucleus": {"temperature": 1, "top_p": 0.9, "seed": 1}}
    settings = {**SETTINGS.plain(), "decodings": decodings, "prompts": 24}
    output = tmp_path / "out/result.json"
    words = ["--model", tmp_path / "model", "--prompts", tmp_path / "documents.parquet", "--settings", json.dumps(settings)]
    assert run_script(generate_text, *words, "--output", output)[0] == 0
    result, items = read_result(output), read_items(output)
    first = output.with_suffix(".parquet").read_bytes()
    assert items.num_rows == 48
    assert result["more"]["exploratory"] is True
    assert result["more"]["prompts"] == 24
    assert result["more"]["self_bleu"] == {"references": 5, "seed": 42}
    names = {
        "distinct_1",
        "distinct_2",
        "distinct_3",
        "repetition_rate",
        "repetition_within",
        "self_bleu",
        "ended_rate",
        "empty_rate",
    }
    names |= {f"{unit}_per_output" for unit in ("words", "characters", "bytes", "tokens")}
    expected = {(name, condition, language) for name in names for condition in decodings for language in ("all", "en", "ja")}
    assert {(m["metric"], m["condition"], m["language"]) for m in result["metrics"]} == expected
    assert run_script(generate_text, *words, "--output", output)[0] == 0
    assert output.with_suffix(".parquet").read_bytes() == first
