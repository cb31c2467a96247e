"""Bits per byte, against a plain loop that predicts one token at a time and sums in float64."""

import json
import math
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from commands.evaluation import evaluate_perplexity
from hypothesis import given
from hypothesis import strategies as st
from support.project import write_tokenizer
from support.settings import altered
from support.writing import load_both, write_writer
from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.evaluation.results import read_items, read_result
from tokalign.evaluation.statistics.bootstrap import ratio_interval
from tokalign.evaluation.suite import evaluate
from tokalign.evaluation.suites import perplexity
from tokalign.evaluation.suites.perplexity import PerplexitySettings, score_documents
from tokalign.models.scoring import Scorer
from tokalign.models.windows import batches, windows

SETTINGS = PerplexitySettings(
    window=64, stride=64, batch_tokens=200, precision="float32", document_start="eos", trust_remote_code=False
)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "über", "den", "Dächern", "日本語", "です", "и", "кот", "сидел"]
TEXTS = [
    "the cat sat on a mat",
    "日本語です 🐈",
    " ".join(random.Random(1).choices(WORDS, k=40)),
    "x",
    " ".join(random.Random(2).choices(WORDS, k=12)),
]
IDS = ["one", "two", "three", "four", "five"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    write_writer(path, TEXTS * 3, context=128, tied=False)
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


def one_by_one(model, tokens, context):
    """Sum of -log p of tokens[1:], where token i sees the tokens from context(i) on; one forward pass for each."""
    total = 0.0
    for i in range(1, len(tokens)):
        with torch.no_grad():
            logits = model(torch.tensor([tokens[context(i) : i]])).logits[0, -1].double()
        total -= float(logits[tokens[i]] - torch.logsumexp(logits, 0))
    return total


def encode(tokenizer, text):
    return [0, *tokenizer(text, add_special_tokens=False)["input_ids"]]


def test_equals_one_token_at_a_time(loaded):
    model, tokenizer = loaded
    nll, tokens, unknown = score_documents(model, tokenizer, IDS, TEXTS, altered(SETTINGS, window=128, stride=128))
    sequences = [encode(tokenizer, text) for text in TEXTS]
    assert max(map(len, sequences)) <= 128
    assert tokens.tolist() == [len(s) - 1 for s in sequences]
    assert unknown == 0
    assert nll == pytest.approx([one_by_one(model, s, lambda i: 0) for s in sequences], rel=1e-5)


def test_strided_windows_equal_their_definition(loaded):
    model, tokenizer = loaded
    window, stride = 16, 6
    nll, _, _ = score_documents(model, tokenizer, IDS, TEXTS, altered(SETTINGS, window=window, stride=stride))

    def context(i):  # the first window that reads the token before i: it begins at a multiple of stride
        return 0 if i <= window else -(-(i - window) // stride) * stride

    expected = [one_by_one(model, encode(tokenizer, text), context) for text in TEXTS]
    assert nll == pytest.approx(expected, rel=1e-5)


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_windows_score_every_token_once(length, window, data):
    stride = data.draw(st.integers(1, window))
    parts = list(windows(0, length, window, stride))
    assert [i for part in parts for i in range(part.first, part.end + 1)] == list(range(1, length))
    for part in parts:
        assert 0 < part.end - part.begin <= window
        assert part.first - part.begin >= (1 if part.begin == 0 else window - stride + 1)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=12), st.integers(1, 100))
def test_batches_hold_every_window_within_the_limit(lengths, limit):
    parts = [w for i, n in enumerate(lengths) for w in windows(i, n, 16, 8)]
    made = list(batches(parts, limit))
    assert sorted((w for b in made for w in b), key=lambda w: (w.document, w.begin)) == parts
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(w.end - w.begin for w in batch) <= limit


@pytest.mark.parametrize("batch_tokens", [1, 70, 10_000])
@pytest.mark.parametrize("bounded", [True, False])
def test_batching_and_chunks_do_not_matter(loaded, monkeypatch, batch_tokens, bounded):
    model, tokenizer = loaded
    settings = altered(SETTINGS, window=20, stride=10)
    reference, _, _ = score_documents(model, tokenizer, IDS, TEXTS, settings)
    monkeypatch.setattr(perplexity, "Scorer", lambda model: Scorer(model, bounded=bounded, chunk_bytes=4 * 304 * 7))
    changed, _, _ = score_documents(model, tokenizer, IDS[::-1], TEXTS[::-1], altered(settings, batch_tokens=batch_tokens))
    assert changed[::-1] == pytest.approx(reference, rel=1e-5)


def test_without_start_token_the_first_token_costs_the_uniform_code(loaded):
    model, tokenizer = loaded
    settings = altered(SETTINGS, window=128, stride=128, document_start="none")
    nll, tokens, _ = score_documents(model, tokenizer, IDS, TEXTS, settings)
    expected = [math.log(304) + one_by_one(model, encode(tokenizer, text)[1:], lambda i: 0) for text in TEXTS]
    assert nll == pytest.approx(expected, rel=1e-5)
    assert nll[3] == pytest.approx(math.log(304))  # a single token
    assert tokens[3] == 1


def test_interval_matches_theory():
    values = np.random.default_rng(0).normal(5, 1, 400)
    low, high = ratio_interval(values, np.ones(400))
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    assert ratio_interval([1.0], [1.0]) is None


def write_documents(path, texts, sizes=None):
    rows = {
        "id": IDS[: len(texts)], "text": texts, "language": ["en", "ja", "de", "en", "de"][: len(texts)],
        "domain": ["web"] * len(texts),
    }  # fmt: skip
    rows["bytes"] = pa.array(sizes or [len(t.encode()) for t in texts], pa.int32())
    pq.write_table(pa.table(rows), path)


def inputs(folder, reference=None):
    return {"documents": folder / "documents.parquet", "reference_tokenizer": reference}


def values(result, metric):
    return {(m["language"], m["domain"]): m["value"] for m in result["metrics"] if m["metric"] == metric}


def test_result_counts_utf8_bytes_and_groups_add_up(folder, tmp_path):
    write_documents(tmp_path / "documents.parquet", TEXTS)
    output = tmp_path / "out.json"
    returned = evaluate("perplexity", folder, folder, inputs(tmp_path), SETTINGS, {"stage": "source"}, output)
    result, items = read_result(output), read_items(output)
    assert result["metrics"] == returned
    assert items["bytes"].to_pylist()[1] == 5 * 3 + 1 + 4  # five characters of 3 bytes, a space, one of 4 bytes
    assert items["characters"].to_pylist()[1] == 7
    bits = values(result, "bits_per_byte")
    assert list(bits) == [("all", "all"), ("de", "web"), ("en", "web"), ("ja", "web")]
    nll, sizes = sum(items["nll"].to_pylist()), sum(len(text.encode()) for text in TEXTS)
    assert bits["all", "all"] == pytest.approx(nll / math.log(2) / sizes)
    tokens = sum(items["tokens"].to_pylist())
    assert values(result, "perplexity")["all", "all"] == pytest.approx(math.exp(nll / tokens))
    assert values(result, "normalized_perplexity") == values(result, "perplexity")
    assert result["labels"] == {"stage": "source"}
    assert result["precision"] == "float32"


def test_normalized_perplexity_counts_the_tokens_of_the_shared_tokenizer(folder, tmp_path):
    write_documents(tmp_path / "documents.parquet", TEXTS)
    write_tokenizer(tmp_path / "bytes", [""], 257)
    evaluate("perplexity", folder, folder, inputs(tmp_path, tmp_path / "bytes"), SETTINGS, {}, tmp_path / "out.json")
    nll, sizes = sum(read_items(tmp_path / "out.json")["nll"].to_pylist()), sum(len(text.encode()) for text in TEXTS)
    found = values(read_result(tmp_path / "out.json"), "normalized_perplexity")["all", "all"]
    assert found == pytest.approx(math.exp(nll / sizes))  # its tokens are bytes


def test_tokenizer_from_another_folder(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("token*", "special*"))
    write_documents(tmp_path / "documents.parquet", TEXTS)
    places = (folder, tmp_path / "model")
    results = [evaluate("perplexity", m, folder, inputs(tmp_path), SETTINGS, {}, tmp_path / "out.json") for m in places]
    assert results[0] == results[1]


def test_command(folder, tmp_path, run_script):
    write_documents(tmp_path / "documents.parquet", TEXTS[:2])
    words = ["--model", folder, "--documents", tmp_path / "documents.parquet", "--output", tmp_path / "out.json"]
    words += ["--labels", '{"stage": "source"}', "--settings"]
    status, shown = run_script(evaluate_perplexity, *words, json.dumps({**SETTINGS.plain(), "document_start": "bos"}))
    assert status == 1
    assert "has no bos token" in shown
    assert not (tmp_path / "out.json").exists()
    assert run_script(evaluate_perplexity, *words, json.dumps(SETTINGS.plain()))[0] == 0
    assert json.loads((tmp_path / "out.json").read_text())["metrics"][0]["n"] == 2


def test_damage_is_refused(folder, tmp_path):
    model, tokenizer = load_both(folder)
    with torch.no_grad():
        model.get_input_embeddings().weight[encode(tokenizer, "x")[1]] = math.nan
    with pytest.raises(ArtifactError, match="document four"):
        score_documents(model, tokenizer, ["four"], ["x y"], SETTINGS)
    write_documents(tmp_path / "documents.parquet", TEXTS, sizes=[3] * 5)
    with pytest.raises(ArtifactError, match="another size"):
        evaluate("perplexity", folder, folder, inputs(tmp_path), SETTINGS, {}, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    with pytest.raises(ArtifactError, match="no model"):
        load_both(tmp_path)


def test_tokenizer_larger_than_the_model(folder):
    model, tokenizer = load_both(folder)
    tokenizer.add_tokens([f"extra{i}" for i in range(400)])
    with pytest.raises(ArtifactError, match="does not fit"):
        score_documents(model, tokenizer, IDS, TEXTS, SETTINGS)


def test_wrong_settings(loaded):
    for change in ({"stride": 65}, {"stride": 0}, {"precision": "float8"}, {"document_start": "unk"}):
        with pytest.raises(ConfigurationError):
            PerplexitySettings.of({**SETTINGS.plain(), **change})
    for change in ({"document_start": "bos"}, {"window": 129}):
        with pytest.raises(ConfigurationError):
            score_documents(*loaded, IDS, TEXTS, altered(SETTINGS, **change))
