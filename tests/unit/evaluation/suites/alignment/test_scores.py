"""Scores of alignments on small tokenizers, against values by hand and by loops."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands.evaluation import evaluate_alignment as evaluate_alignment_script
from hypothesis import given
from hypothesis import strategies as st
from support.alignments import write_tokens
from support.bleu import by_loops
from support.project import WORDS, write_tokenizer
from tokalign.alignment.align import Side
from tokalign.alignment.table import NO_SOURCE, Tokens, best_sources
from tokalign.common.errors import ArtifactError
from tokalign.evaluation.data import heldout
from tokalign.evaluation.suites.alignment.rewriting import shared_tokens, unshared_parts
from tokalign.evaluation.suites.alignment.scores import SIMILARITIES, evaluate_alignment, similarity_metrics
from tokalign.tokenizers.loading import encode, load_tokenizer
from tokalign.tokenizers.vocabulary import Vocabulary, describe, write_vocabulary

TEXTS = {
    "en": ["the model learns the language of the world", "a small vector\nreads a large matrix", "the the old stage"],
    "de": ["der vektor lernt die neue sprache", "das modell schreibt klein und gross"],
}


def rows_of(rows: list[dict[int, float]]) -> Tokens:
    """Return the table of an alignment from the weights of each row."""
    lengths = [len(row) for row in rows]
    return Tokens(
        category=np.array(["aligned"] * len(rows), dtype=object),
        score=np.zeros(len(rows)),
        sources=np.array([i for row in rows for i in row], dtype=np.int64),
        weights=np.array([w for row in rows for w in row.values()], dtype=np.float64),
        offsets=np.cumsum([0, *lengths]).astype(np.int64),
    )


def test_largest_weight_then_smallest_id_then_none():
    rows = [{4: 0.2, 1: 0.8}, {}, {7: 0.5, 3: 0.5}, {2: -0.9, 5: 0.1}, {6: 0.0}, {8: -1.0}, {9: 1.0}]
    assert best_sources(rows_of(rows)).tolist() == [1, NO_SOURCE, 3, 5, NO_SOURCE, NO_SOURCE, 9]


def side(tokens: list[bytes], kinds: list[str] | None = None) -> Side:
    """Return a side of a vocabulary whose tokenizer is not used."""
    vocabulary = Vocabulary([t.decode("latin-1") for t in tokens], tokens, kinds or ["text"] * len(tokens), {})
    return Side(vocabulary, None)


def test_shared_are_special_tokens_and_equal_bytes():
    ours = side([b"<s>", b"a", b"b", b"\xff", b"", b"<t>"], ["special", "text", "text", "byte", "unused", "text"])
    theirs = side([b"b", b"\xff", b"<t>", b"a"], ["text", "text", "special", "unused"])
    assert shared_tokens(ours.vocabulary, theirs.vocabulary).tolist() == [True, False, True, True, True, False]


def masks(ours: list[bytes], theirs: list[bytes], shared: set[bytes]):
    """Return what counts of two ways to cut the same bytes, as lists of bytes."""
    left, right = side(ours), side(theirs)
    flags = np.array([token in shared for token in ours])
    found = unshared_parts(np.arange(len(ours)), np.arange(len(theirs)), left, right, flags)
    if found is None:
        return None
    return [t for t, yes in zip(ours, found[0], strict=True) if yes], [t for t, yes in zip(theirs, found[1], strict=True) if yes]


def test_spans_by_hand():
    """``foo`` is shared: ``foob`` of the source goes beyond what ``bar`` and ``baz`` cover, ``arb`` lies within both."""
    assert masks([b"foo", b"bar", b"baz"], [b"foob", b"arb", b"az"], {b"foo"}) == ([b"bar", b"baz"], [b"arb", b"az"])
    assert masks([b"ab", b"c", b"de"], [b"abc", b"de"], {b"c"}) == ([b"ab", b"de"], [b"de"])
    assert masks([b"b"], [b"abc"], set()) is None
    assert masks([b"ab"], [b"a", b"b"], {b"ab"}) == ([], [])


@pytest.mark.parametrize("swapped", [False, True])
def test_a_space_in_front_of_one_side_is_left_out(swapped):
    cuts = [[b" th", b"e c", b"at"], [b"the", b" cat"]]
    ours, theirs = reversed(cuts) if swapped else cuts
    assert masks(ours, theirs, set()) == (ours, theirs)
    assert masks(ours, theirs, {ours[0]})[0] == ours[1:]
    alone = masks([b" ", b"a", b"b"], [b"a", b"b"], {b" "})
    assert alone == ([b"a", b"b"], [b"a", b"b"])
    assert masks([b"a", b"b"], [b" ", b"a", b"b"], {b"a"}) == ([b"b"], [b"b"])


@given(st.binary(min_size=1, max_size=20), st.sets(st.integers(1, 19)), st.sets(st.integers(1, 19)), st.integers(0, 2**20))
def test_spans_by_sets_of_bytes(data, first, second, pattern):
    def cut(places):
        edges = [0, *sorted(p for p in places if p < len(data)), len(data)]
        return list(pairwise(edges))

    ours, theirs = cut(first), cut(second)
    flags = np.array([pattern >> i & 1 == 1 for i in range(len(ours))])
    covered = {b for (start, end), shared in zip(ours, flags, strict=True) if not shared for b in range(start, end)}
    found = unshared_parts(
        np.arange(len(ours)), np.arange(len(theirs)), *(side([data[s:e] for s, e in part]) for part in (ours, theirs)), flags
    )
    assert found is not None
    assert found[0].tolist() == (~flags).tolist()
    assert found[1].tolist() == [set(range(s, e)) <= covered for s, e in theirs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two byte-level tokenizers with vocabularies, and held-out documents."""
    place = tmp_path_factory.mktemp("scores")
    for name, languages, size in (("source", ("en",), 300), ("target", ("en", "de"), 340)):
        write_tokenizer(place / name, [WORDS[language] for language in languages] * 20, size)
        write_vocabulary(describe(load_tokenizer(place / name)), place / f"{name}.parquet")
    documents = [
        {"id": f"{language}{i}", "text": text, "language": language, "domain": "web", "bytes": len(text.encode())}
        for language, texts in TEXTS.items()
        for i, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(documents, schema=heldout.SCHEMA), place / "documents.parquet")
    return place


@pytest.fixture(scope="module")
def sides(folder) -> tuple[Side, Side]:
    return tuple(Side.read(folder / name, folder / f"{name}.parquet") for name in ("target", "source"))


def values(metrics: list[dict], metric: str, tokens: str = "all", level: str = "corpus"):
    (row,) = [r for r in metrics if (r["metric"], r["tokens"], r["level"]) == (metric, tokens, level)]
    return row


def test_all_scores_by_loops(folder, sides, tmp_path):
    """Some rows exact, some wrong, some without a source."""
    target, source = sides
    known = {data: i for i, data in enumerate(source.vocabulary.token_bytes)}
    rng = np.random.default_rng(0)
    rows = []
    for data in target.vocabulary.token_bytes:
        if data in known:
            rows.append(("exact", None, [known[data]], [1.0]))
        elif rng.random() < 0.3:
            rows.append(("random", None, [], []))
        else:
            rows.append(("aligned", 0.5, sorted(rng.choice(source.vocabulary.size, 2, replace=False).tolist()), [0.25, 0.75]))
    write_tokens(tmp_path / "tokens.parquet", rows)
    result = evaluate_alignment(
        tmp_path / "tokens.parquet", target, source, folder / "documents.parquet", {"alignment": "x"}, None
    )

    best = [row[2][-1] if row[2] else -1 for row in rows]
    every, unshared, tokens = [], [], []
    for text in (text for texts in TEXTS.values() for text in texts):
        (ours,), (theirs,) = (encode(s.tokenizer, [text]) for s in sides)
        tokens += ours
        every.append(([best[i] for i in ours], theirs))
        spans = []
        for s, ids in zip(sides, (ours, theirs), strict=True):
            ends = np.cumsum([len(s.vocabulary.token_bytes[i]) for i in ids]).tolist()
            spans.append(list(zip(ids, [0, *ends[:-1]], ends, strict=True)))
        covered = {b for i, start, end in spans[0] if rows[i][0] != "exact" for b in range(start, end)}
        inside = [i for i, start, end in spans[1] if set(range(start, end)) <= covered]
        unshared.append(([best[i] for i in ours if rows[i][0] != "exact"], inside))
    assert sum(len(reference) for _, reference in unshared) > 10
    for scope, pairs in (("all", every), ("not_shared", [p for p in unshared if p[0]])):
        for order in range(1, 5):
            single, whole = by_loops(pairs, order)
            row = values(result["metrics"], f"bleu_{order}", scope, "document")
            assert (row["value"], row["n"]) == (pytest.approx(np.mean(single)), len(pairs))
            assert values(result["metrics"], f"bleu_{order}", scope)["value"] == pytest.approx(whole)
    for category in ("exact", "aligned", "random"):
        share = np.mean([rows[i][0] == category for i in tokens])
        assert values(result["metrics"], "share_of_tokens", category)["value"] == pytest.approx(share)
    coverage = values(result["metrics"], "coverage")
    assert (coverage["value"], coverage["n"]) == (pytest.approx(np.mean([best[i] >= 0 for i in tokens])), len(tokens))
    assert coverage["value"] < 1
    german = next(g for g in result["groups"] if g["language"] == "de")["metrics"]
    assert values(german, "bleu_1")["value"] == pytest.approx(by_loops(every[3:], 1)[1])
    assert result["documents_not_comparable"] == 0
    for name in SIMILARITIES:
        row = values(result["metrics"], name, level="segment")
        assert (row["value"], row["ci95"], row["reason"]) == (None, None, "no embedder is configured")
    json.dumps(result, allow_nan=False)


def test_the_same_tokenizer_aligned_to_itself_is_perfect(folder, sides, tmp_path):
    target = sides[0]
    write_tokens(tmp_path / "tokens.parquet", [("exact", None, [i], [1.0]) for i in range(target.vocabulary.size)])
    result = evaluate_alignment(tmp_path / "tokens.parquet", target, target, folder / "documents.parquet", {}, None)
    for level in ("document", "corpus"):
        assert values(result["metrics"], "bleu_1", level=level)["value"] == 1
    assert values(result["metrics"], "bleu_4")["ci95"] == [1, 1]
    row = values(result["metrics"], "bleu_1", "not_shared")
    assert (row["value"], row["n"], row["reason"]) == (None, 0, "no token that is not shared")


def test_small_batches_give_the_same(folder, sides, tmp_path, monkeypatch):
    from tokalign.evaluation.suites.alignment import rewriting

    write_tokens(tmp_path / "tokens.parquet", [("aligned", 0.5, [i % 300], [1.0]) for i in range(sides[0].vocabulary.size)])
    arguments = (tmp_path / "tokens.parquet", *sides, folder / "documents.parquet", {}, None)
    whole = evaluate_alignment(*arguments)
    monkeypatch.setattr(rewriting, "BATCH_BYTES", 60)
    assert evaluate_alignment(*arguments) == whole


def test_an_alignment_of_other_tokenizers_is_refused(folder, sides, tmp_path):
    size = sides[0].vocabulary.size
    write_tokens(tmp_path / "tokens.parquet", [("exact", None, [0], [1.0])] * (size - 1))
    with pytest.raises(ArtifactError, match="does not belong to these tokenizers"):
        evaluate_alignment(tmp_path / "tokens.parquet", *sides, folder / "documents.parquet", {}, None)
    write_tokens(tmp_path / "tokens.parquet", [("exact", None, [300], [1.0])] * size)
    with pytest.raises(ArtifactError, match="source ids 0 to 299"):
        evaluate_alignment(tmp_path / "tokens.parquet", *sides, folder / "documents.parquet", {}, None)


def test_documents_that_a_tokenizer_normalizes_are_counted_and_left_out(folder, tmp_path):
    """A lower-casing target tokenizer spells capitals otherwise than the source."""
    spec = json.loads((folder / "target/tokenizer.json").read_text())
    spec["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower/tokenizer.json").write_text(json.dumps(spec))
    settings = folder / "target/tokenizer_config.json"
    (tmp_path / "lower/tokenizer_config.json").write_text(settings.read_text())
    target = Side.read(tmp_path / "lower", folder / "target.parquet")
    source = Side.read(folder / "source", folder / "source.parquet")
    documents = [
        {"id": str(i), "text": text, "language": "de", "domain": "web", "bytes": len(text)}
        for i, text in enumerate(["der vektor", "Der Vektor"])
    ]
    pq.write_table(pa.Table.from_pylist(documents, schema=heldout.SCHEMA), tmp_path / "documents.parquet")
    write_tokens(tmp_path / "tokens.parquet", [("random", None, [0], [1.0])] * target.vocabulary.size)
    arguments = (tmp_path / "tokens.parquet", target, source, tmp_path / "documents.parquet", {}, None)
    result = evaluate_alignment(*arguments)
    assert (result["documents"], result["documents_not_comparable"]) == (2, 1)
    assert values(result["metrics"], "bleu_1", level="document")["n"] == 2
    assert values(result["metrics"], "bleu_1", "not_shared", "document")["n"] == 1


def test_means_of_segments_and_intervals_of_documents():
    from tokalign.evaluation.suites.alignment.embedder import Likeness

    ones = np.ones(4)
    rows = similarity_metrics(Likeness(np.array([0.0, 0.5, 0.5, 1.0]), ones, ones / 2, ones, 0), np.array([0, 0, 2, 2]))
    assert [(r["metric"], r["value"], r["n"]) for r in rows[:3]] == [
        ("embedding_similarity", 0.5, 4),
        ("bertscore_precision", 1.0, 4),
        ("bertscore_recall", 0.5, 4),
    ]
    assert rows[0]["ci95"] == [0.25, 0.75]  # the means of either document
    assert rows[1]["ci95"] == [1, 1]


def test_command(folder, tmp_path, run_script):
    """In two processes, which put the elements of sets in other orders."""
    size = 340
    write_tokens(tmp_path / "tokens.parquet", [("random", None, [i % 300], [1.0]) for i in range(size)])
    words = ["--tokens", tmp_path / "tokens.parquet", "--documents", folder / "documents.parquet"]
    for name in ("source", "target"):
        words += [f"--{name}-tokenizer", folder / name, f"--{name}-vocabulary", folder / f"{name}.parquet"]
    words += ["--settings", "{}", "--labels", '{"alignment": "a"}', "--output", tmp_path / "out.json"]
    first = subprocess.run(
        [sys.executable, evaluate_alignment_script.__file__, *words], check=True, capture_output=True, text=True
    )
    result = (tmp_path / "out.json").read_bytes()
    assert json.loads(result)["labels"] == {"alignment": "a"}
    assert "documents scored" in first.stderr
    (tmp_path / "out.json").unlink()
    assert run_script(evaluate_alignment_script, *words)[0] == 0
    assert (tmp_path / "out.json").read_bytes() == result
