"""Tokenizer metrics, worked out by hand and by a few lines of the tests' own."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands.evaluation import evaluate_tokenizer as script
from support.project import WORDS, write_corpus, write_tokenizer
from support.shards import write_shard
from tokalign.common.errors import ArtifactError
from tokalign.evaluation.results import METRIC_KEYS, read_items, read_result
from tokalign.evaluation.statistics.bootstrap import JACKKNIFE_GROUPS, jackknife_interval
from tokalign.evaluation.suites.tokenizer import metrics
from tokalign.evaluation.suites.tokenizer.metrics import TokenizerSettings, document_items, read_counts, unigram_metrics
from tokalign.evaluation.suites.tokenizer.unigrams import renyi_efficiency
from tokalign.tokenizers.loading import load_backend, load_tokenizer
from tokalign.tokenizers.vocabulary import Vocabulary, describe, read_vocabulary, write_vocabulary
from tokalign.tokens.tokenize import tokenize_shard

SETTINGS = TokenizerSettings(renyi_alpha=2.5)
VOCABULARY = Vocabulary(
    ["<unk>", "The", "Ġcat", "Ġsat", "<eos>", "."], [b"<unk>", b"The", b" cat", b" sat", b"<eos>", b"."],
    ["special", "text", "text", "text", "special", "text"], {"unk": 0, "eos": 4},
)  # fmt: skip


def row(ids, size, characters, words, language, name):
    return {"ids": ids, "bytes": size, "characters": characters, "words": words, "language": language, "document": name}


ROWS = [row([1, 2, 5], 8, 8, 2, "en", "a"), row([0, 5], 7, 3, 1, "ja", "b"), row([1, 3], 7, 7, 2, "en", "c")]


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path / "validation.arrow", ROWS, rows=2)


def measured(shard, vocabulary=VOCABULARY):
    items = document_items(read_counts(shard, vocabulary))
    found = metrics.metrics_of(items, metrics.MEASURES, "documents")
    found += unigram_metrics(shard, items, vocabulary, SETTINGS)
    assert all(set(METRIC_KEYS) <= set(metric) for metric in found)
    return {(m["metric"], m["language"]): m for m in found}


def test_by_hand(shard):
    found = measured(shard)
    value = {key: metric["value"] for key, metric in found.items()}
    assert value["fertility", "en"] == 5 / 4
    assert value["bytes_per_token", "en"] == 15 / 5
    assert value["characters_per_token", "en"] == 3
    assert value["unknown_rate", "en"] == 0
    assert found["bytes_per_token", "en"]["ci95"] == pytest.approx([8 / 3, 7 / 2])  # twice the first or twice the second document
    assert value["tokens_per_character", "ja"] == pytest.approx(2 / 3)
    assert value["unknown_rate", "ja"] == 0.5
    assert found["fertility", "ja"]["ci95"] is None  # one document
    assert value["bytes_per_token", "all"] == pytest.approx(22 / 7)
    assert value["fertility", "all"] == pytest.approx(7 / 5)
    assert value["unknown_rate", "all"] == pytest.approx(1 / 7)
    assert value["continued_words", "all"] == 2 / 5  # `cat.` and the word with the unknown token
    assert value["single_token_words", "all"] == 3 / 5
    assert value["vocabulary_share", "all"] == 1
    assert value["vocabulary_share", "en"] == 1
    assert value["vocabulary_share", "ja"] == 1 / 4
    assert value["renyi_efficiency", "ja"] == pytest.approx(0.5)  # ln 2 / ln 4
    assert found["fertility", "all"]["n"] == found["renyi_efficiency", "all"]["n"] == 3


def test_corpus_and_documents_are_both_given(shard):
    """A mean over documents is another number than a ratio of sums: which one it is, the level says."""
    found = measured(shard)
    assert found["document_fertility", "all"]["value"] == pytest.approx((3 / 2 + 2 + 1) / 3)
    assert found["document_bytes_per_token", "all"]["value"] == pytest.approx((8 / 3 + 7 / 2 + 7 / 2) / 3)
    assert found["document_fertility", "all"]["value"] != found["fertility", "all"]["value"]
    assert (found["document_fertility", "all"]["level"], found["fertility", "all"]["level"]) == ("item", "corpus")


def test_same_result_for_other_record_batches_and_blocks(shard, tmp_path, monkeypatch):
    expected = measured(shard)
    write_shard(tmp_path / "other.arrow", ROWS, rows=1)
    monkeypatch.setattr(metrics, "BLOCK_TOKENS", 3)
    monkeypatch.setattr(metrics, "COUNTS_BYTES", 1)  # one group of documents at a time
    assert measured(tmp_path / "other.arrow") == expected


def test_document_without_tokens_or_words(tmp_path):
    write_shard(tmp_path / "empty.arrow", [row([], 0, 0, 0, "en", "a"), row([], 0, 0, 0, "en", "b")])
    assert {
        metric["value"] for metric in measured(tmp_path / "empty.arrow").values() if metric["metric"] != "vocabulary_share"
    } == {None}
    write_shard(tmp_path / "one.arrow", [row([], 0, 0, 0, "en", "a"), ROWS[0]])
    assert measured(tmp_path / "one.arrow")["document_fertility", "en"]["value"] == 1.5  # the other has no fertility


def test_words_that_cannot_be_placed(tmp_path):
    """Tokens that spell another number of words than the text has say nothing about its words."""
    write_shard(tmp_path / "s.arrow", [ROWS[0], row([1, 2, 2], 12, 12, 4, "en", "b")])
    counts = read_counts(tmp_path / "s.arrow", VOCABULARY)
    assert counts["placed_words"].tolist() == [2, 0]
    assert counts["continued_words"].tolist() == [1, 0]
    assert counts["words"].tolist() == [2, 4]


def test_files_that_do_not_fit(shard, tmp_path):
    small = Vocabulary(["a"], [b"a"], ["text"], {})
    with pytest.raises(ArtifactError, match="outside of the vocabulary"):
        read_counts(shard, small)
    (tmp_path / "cut.arrow").write_bytes(shard.read_bytes()[:200])
    with pytest.raises(ArtifactError, match="not a readable token shard"):
        read_counts(tmp_path / "cut.arrow", VOCABULARY)
    write_shard(tmp_path / "none.arrow", [])
    with pytest.raises(ArtifactError, match="no documents"):
        read_counts(tmp_path / "none.arrow", VOCABULARY)


# ---- a real tokenizer, on text ----


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A tokenizer of English and German, documents in three languages, their shard, and a parallel test set."""
    folder = tmp_path_factory.mktemp("project")
    write_corpus(folder / "corpus", documents=15)
    texts = {
        language: [json.loads(line)["text"] for line in (folder / f"corpus/{language}.jsonl").read_text().splitlines()]
        for language in WORDS
    }
    write_tokenizer(folder / "tokenizer", texts["en"] + texts["de"], 330)
    write_vocabulary(describe(load_tokenizer(folder / "tokenizer")), folder / "vocabulary.parquet")
    rows = [
        {"id": f"{language}{i}", "text": text, "language": language, "domain": "web"}
        for language, parts in texts.items()
        for i, text in enumerate(parts)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "text.parquet")
    tokenize_shard(folder / "text.parquet", load_backend(folder / "tokenizer"), folder / "validation.arrow")
    (folder / "flowers").mkdir()
    segments = {
        "id": ["1", "2"],
        "en": ["the model learns", "a text"],
        "ru": ["модель учится", "текст"],
        "de": ["das", "der text"],
    }
    pq.write_table(pa.table(segments), folder / "flowers/items.parquet")
    return folder, rows, segments


def words(project, output, run_script, *more, settings='{"renyi_alpha": 2.5, "parity_language": "en"}'):
    folder = project[0]
    return run_script(
        script, "--shard", folder / "validation.arrow", "--vocabulary", folder / "vocabulary.parquet",
        "--tokenizer", folder / "tokenizer", "--settings", settings, "--labels", '{"tokenizer": "t"}',
        "--output", output, *more,
    )  # fmt: skip


def test_agrees_with_a_few_lines(project, tmp_path, run_script):
    folder, rows, segments = project
    assert words(project, tmp_path / "r.json", run_script, "--testset", folder / "flowers/items.parquet")[0] == 0
    result = read_result(tmp_path / "r.json")
    found = {(m["dataset"], m["metric"], m["language"]): m for m in result["metrics"]}
    tokenizer = load_tokenizer(folder / "tokenizer")
    for language in ("all", *WORDS):
        chosen = [r["text"] for r in rows if language in ("all", r["language"])]
        ids = [tokenizer.encode(text, add_special_tokens=False) for text in chosen]
        tokens = sum(map(len, ids))
        value = {name: found["validation", name, language]["value"] for _, name, _ in found if name != "parity"}
        assert value["fertility"] == pytest.approx(tokens / sum(len(text.split()) for text in chosen))
        assert value["bytes_per_token"] == pytest.approx(sum(len(text.encode()) for text in chosen) / tokens)
        per_document = [len(i) / len(text.split()) for i, text in zip(ids, chosen, strict=True)]
        assert value["document_fertility"] == pytest.approx(np.mean(per_document))
        assert value["continued_words"] + value["single_token_words"] == pytest.approx(1)  # its tokens never hold two words
        counts = np.bincount([i for document in ids for i in document], minlength=330)
        assert value["renyi_efficiency"] == pytest.approx(renyi_efficiency(counts, 2.5, 329))  # all but <eos>
        assert value["vocabulary_share"] == (counts > 0).sum() / 329
    for language in ("ru", "de"):
        lengths = {name: [len(tokenizer.encode(text)) for text in segments[name]] for name in (language, "en")}
        parity = found["flowers", "parity", language]
        assert parity["value"] == pytest.approx(sum(lengths[language]) / sum(lengths["en"]))
        assert (parity["n"], parity["items"], parity["domain"]) == (2, "segments", "")
    assert ("flowers", "parity", "en") not in found
    items = read_items(tmp_path / "r.json")
    assert items.num_rows == 45 + 4
    assert items["tokens"].null_count == 0
    assert result["suite"] == "tokenizers"
    assert set(result["digests"]) == {"tokenizer", "data", "testset"}
    whole = result["more"]["totals"][0]
    assert (whole["language"], whole["documents"], whole["words"]) == ("all", 45, sum(len(r["text"].split()) for r in rows))
    assert result["more"]["documents_without_placed_words"] == 0
    assert result["more"]["unreachable"]["unreachable"] == 0
    assert result["more"]["vocabulary"] == {"ids": 330, "ordinary": 329}


def test_jackknife_by_leaving_documents_out(project):
    """Of 15 documents of a language each is a fold; of all 45 each fold is what every language has left out."""
    folder, rows, _ = project
    vocabulary = read_vocabulary(folder / "vocabulary.parquet")
    items = document_items(read_counts(folder / "validation.arrow", vocabulary))
    found = {m["language"]: m for m in unigram_metrics(folder / "validation.arrow", items, vocabulary, SETTINGS)
             if m["metric"] == "renyi_efficiency"}  # fmt: skip
    tokenizer = load_tokenizer(folder / "tokenizer")
    ids = [tokenizer.encode(r["text"]) for r in rows if r["language"] == "de"]
    counts = np.array([np.bincount(document, minlength=330) for document in ids])
    expected = [renyi_efficiency(counts.sum(0) - document, 2.5, 329) for document in counts]
    assert found["de"]["replicates"] == {"kind": "jackknife", "values": pytest.approx(expected)}
    assert found["de"]["ci95"] == pytest.approx(jackknife_interval(found["de"]["value"], expected))
    assert len(found["all"]["replicates"]["values"]) == min(15, JACKKNIFE_GROUPS)


def test_a_normalizer_that_changes_letters_keeps_the_words(tmp_path):
    """Lower case and the space that is put before the text: the words stay the same in number and place."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = {"<unk>": 0, "▁": 1, "t": 2, "h": 3, "e": 4, "▁the": 5, "th": 6, "▁th": 7, "</s>": 8}
    model = models.BPE(pieces, [("t", "h"), ("▁", "th"), ("▁th", "e")], unk_token="<unk>", fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>").save_pretrained(tmp_path / "t")
    text = "The THE het the日本"
    rows = [{"id": "a", "text": text, "language": "en", "domain": "web"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "text.parquet")
    tokenize_shard(tmp_path / "text.parquet", load_backend(tmp_path / "t"), tmp_path / "s.arrow")
    counts = read_counts(tmp_path / "s.arrow", describe(load_tokenizer(tmp_path / "t")))
    found = [counts[name].item() for name in ("words", "placed_words", "continued_words", "single_token_words", "unknown")]
    assert found == [4, 4, 2, 2, 1]


def test_without_a_test_set(project, tmp_path, run_script):
    assert words(project, tmp_path / "r.json", run_script, settings='{"renyi_alpha": 2.5}')[0] == 0
    assert {m["dataset"] for m in read_result(tmp_path / "r.json")["metrics"]} == {"validation"}


def test_test_sets_that_do_not_fit(project, tmp_path, run_script):
    folder = project[0]
    testset = folder / "flowers/items.parquet"
    status, message = words(
        project, tmp_path / "r.json", run_script, "--testset", testset, settings='{"renyi_alpha": 2.5, "parity_language": "fr"}'
    )
    assert status == 1
    assert "id, fr and other languages" in message
    status, message = words(project, tmp_path / "r.json", run_script, "--testset", tmp_path / "none.parquet")
    assert status == 1
    assert "none.parquet: no such file" in message
    assert not list(tmp_path.iterdir())
