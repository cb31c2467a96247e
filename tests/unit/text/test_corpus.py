"""Corpora against a brute force: what is kept, where it goes, and that nothing but the texts decides."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.project import ROOT
from support.settings import altered
from tokalign.common.errors import InputError
from tokalign.text import corpus
from tokalign.text.corpus import CorpusSettings, Source, document_hash, prepare_corpus, share_budget

SETTINGS = CorpusSettings(byte_budget=None, min_characters=3, validation_fraction=0.2, shards=3, seed=1)


def source(name: str, *files: Path, weight: float | None = None) -> Source:
    return Source(name, tuple(map(str, files)), "text", f"language of {name}", f"domain of {name}", "CC0-1.0", weight)


def write(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def texts(prefix: str, number: int, seed: int = 0) -> list[str]:
    """Return different documents of 20 to 200 characters, some beyond ASCII."""
    rng = random.Random(f"{prefix}{seed}")
    return [f"{prefix} {i} " + "".join(rng.choices("abc déж語 \n", k=rng.randint(16, 190))) + "." for i in range(number)]


def prepare(folder: Path, sources: list[Source], **changes) -> tuple[dict, dict[str, list[dict]]]:
    """Return the manifest and the rows of each shard."""
    folder.mkdir()
    manifest = prepare_corpus(sources, altered(SETTINGS, **changes), folder)
    return manifest, {path.stem: pq.read_table(path).to_pylist() for path in sorted(folder.iterdir())}


def rows_of(shards: dict[str, list[dict]], train_only: bool = False) -> list[dict]:
    return [row for name, rows in shards.items() if not (train_only and name == "validation") for row in rows]


def is_held_out(text: str, fraction: float) -> bool:
    """Say by definition whether a document is held out: by the last 8 bytes of its BLAKE2b-128."""
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest[8:], "big") / 2**64 < fraction


@pytest.fixture
def two(tmp_path):
    """Two sources with duplicates within and across, short, empty and unwritable documents."""
    a, b = texts("a", 150), texts("b", 90)
    write(tmp_path / "a1.jsonl", [*a[:100], a[3], "xy", ""])
    write(tmp_path / "a2.jsonl", [*a[100:], a[5], a[120], "ab\ud800cd"])
    write(tmp_path / "b.jsonl", [a[7], *b, b[0], "z"])
    return [source("a", tmp_path / "a2.jsonl", tmp_path / "a1.jsonl"), source("b", tmp_path / "b.jsonl")], a, b


def test_against_brute_force(two, tmp_path):
    sources, a, b = two
    manifest, shards = prepare(tmp_path / "out", sources)
    assert list(shards) == ["train-00000", "train-00001", "train-00002", "validation"]
    rows = rows_of(shards)
    expected = dict.fromkeys(a, "a") | dict.fromkeys(b, "b")
    assert {row["text"]: row["source"] for row in rows} == expected
    assert len(rows) == 240  # nothing twice, within a split or across
    for row in rows:
        assert row["id"] == hashlib.blake2b(row["text"].encode(), digest_size=16).hexdigest()
        assert (row["language"], row["domain"]) == (f"language of {row['source']}", f"domain of {row['source']}")
    held_out = {text for text in expected if is_held_out(text, 0.2)}
    assert 20 < len(held_out) < 80
    assert {row["text"] for row in shards["validation"]} == held_out
    assert min(len(shards[f"train-0000{i}"]) for i in range(3)) > 40

    assert manifest["documents"] == 240
    assert manifest["bytes"] == sum(len(text.encode()) for text in expected)
    for name, kept, read, dropped in (
        ("a", a, 156, {"duplicate": 3, "too_short": 1, "empty": 1, "unpaired_surrogate": 1}),
        ("b", b, 93, {"duplicate": 2, "too_short": 1}),
    ):
        figures = manifest["sources"][name]
        assert figures["documents"] == len(kept)
        assert figures["bytes"] == sum(len(text.encode()) for text in kept)
        assert figures["read_documents"] == read == len(kept) + sum(dropped.values())
        assert figures["dropped"] == dropped
        assert figures["validation_documents"] == len(held_out & set(kept))
        assert (figures["language"], figures["license"]) == (f"language of {name}", "CC0-1.0")
    data = (tmp_path / "a1.jsonl").read_bytes()
    assert manifest["sources"]["a"]["files"]["a1.jsonl"] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for name, rows in shards.items():
        path = tmp_path / f"out/{name}.parquet"
        size = sum(len(row["text"].encode()) for row in rows)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        assert manifest["shards"][name] == {"documents": len(rows), "bytes": size, "sha256": sha256}
    json.dumps(manifest, allow_nan=False)


def test_same_input_same_bytes_however_it_lies_in_files(two, tmp_path):
    """The order of files, of documents in them, and their number do not matter; the seed does."""
    sources, a, b = two
    first, _ = prepare(tmp_path / "first", sources, byte_budget=9000)
    again, _ = prepare(tmp_path / "again", [replace(sources[0], files=sources[0].files[::-1]), sources[1]], byte_budget=9000)
    write(tmp_path / "other/1.jsonl", [*reversed(a), "ab"])
    write(tmp_path / "other/2.jsonl", b[40:])
    write(tmp_path / "other/0.jsonl", b[:40])
    others = [source("a", tmp_path / "other/1.jsonl"), source("b", tmp_path / "other/2.jsonl", tmp_path / "other/0.jsonl")]
    moved, _ = prepare(tmp_path / "moved", others, byte_budget=9000)
    assert first == again
    assert first["shards"] == moved["shards"]
    seeded, _ = prepare(tmp_path / "seeded", sources, byte_budget=9000, seed=2)
    assert all(seeded["shards"][name]["sha256"] != figures["sha256"] for name, figures in first["shards"].items())


def test_order_is_shuffled(tmp_path):
    """Sources and reading order are mixed in a shard."""
    sources = [source(name, write(tmp_path / f"{name}.jsonl", texts(name, 200))) for name in ("a", "b")]
    _, shards = prepare(tmp_path / "out", sources, shards=1)
    order = [row["source"] for row in shards["train-00000"]]
    changes = sum(x != y for x, y in itertools.pairwise(order))
    assert len(order) * 0.35 < changes < len(order) * 0.65
    numbers = [int(row["text"].split()[1]) for row in shards["train-00000"] if row["source"] == "a"]
    assert numbers != sorted(numbers)


def test_a_document_is_held_out_in_every_corpus_with_the_same_fraction(two, tmp_path):
    """Another seed, budget, number of shards or other company does not move a document from validation to training."""
    sources, a, _ = two
    more = source("more", write(tmp_path / "more.jsonl", [*texts("m", 100), *a[:50]]))
    corpora = [
        prepare(tmp_path / "1", sources)[1],
        prepare(tmp_path / "2", sources, seed=9, shards=5, byte_budget=12_000)[1],
        prepare(tmp_path / "3", [more, *sources], min_characters=1)[1],
    ]
    held_out = [{row["text"] for row in shards["validation"]} for shards in corpora]
    trained = [{row["text"] for row in rows_of(shards, train_only=True)} for shards in corpora]
    assert not set.union(*held_out) & set.union(*trained)
    larger = prepare(tmp_path / "4", sources, validation_fraction=0.4)[1]
    assert held_out[0] < {row["text"] for row in larger["validation"]}


def test_budget_takes_from_all_files(tmp_path):
    """Every file gives about the budget's share of its documents, and the budget is used up but for a document."""
    documents = {i: texts(f"f{i}", 200) for i in range(4)}
    one = source("s", *(write(tmp_path / f"{i}.jsonl", documents[i]) for i in documents))
    budget = sum(len(text.encode()) for part in documents.values() for text in part) // 4
    manifest, shards = prepare(tmp_path / "out", [one], byte_budget=budget)
    by_file = Counter(row["text"].split()[0] for row in rows_of(shards))
    assert all(25 < by_file[f"f{i}"] < 75 for i in documents)  # 50 expected, standard deviation 6
    largest = max(len(text.encode()) for part in documents.values() for text in part)
    assert budget - largest < manifest["bytes"] <= budget
    assert manifest["sources"]["s"]["dropped"] == {"duplicate": 0, "over_budget": 800 - manifest["documents"]}
    smaller, _ = prepare(tmp_path / "small", [one], byte_budget=budget // 2)
    assert smaller["documents"] < manifest["documents"]


def test_a_smaller_budget_takes_a_part_of_a_larger_one(tmp_path):
    one = source("s", write(tmp_path / "s.jsonl", texts("s", 300)))
    kept = [{r["id"] for r in rows_of(prepare(tmp_path / str(b), [one], byte_budget=b)[1])} for b in (8000, 16_000)]
    assert kept[0] < kept[1]


@pytest.mark.parametrize(("weights", "budget", "expected"), [((1, 3), None, 1 / 3), ((2, 1), 12_000, 2), ((None, None), 9000, 1)])
def test_weights(tmp_path, weights, budget, expected):
    sources = [source(n, write(tmp_path / f"{n}.jsonl", texts(n, 200)), weight=w) for n, w in zip("ab", weights, strict=True)]
    manifest, _ = prepare(tmp_path / "out", sources, byte_budget=budget)
    sizes = [manifest["sources"][name]["bytes"] for name in "ab"]
    assert sizes[0] / sizes[1] == pytest.approx(expected, rel=0.12)
    if budget is None:  # the largest corpus of these proportions: all of b
        assert manifest["sources"]["b"]["documents"] == 200
    else:
        assert budget - 1000 < sum(sizes) <= budget


@pytest.mark.parametrize(
    ("sizes", "weights", "budget", "expected"),
    [
        ((100, 300, 600), (None,) * 3, None, (100, 300, 600)),
        ((100, 300, 600), (None,) * 3, 500, (50, 150, 300)),
        ((100, 300, 600), (1, 1, 1), 500, (100, 200, 200)),  # a third would be 166: a gives all, the others share the rest
        ((100, 120, 600), (1, 1, 1), 500, (100, 120, 280)),  # after a, half of 400 is too much for b
        ((100, 300, 600), (1, 1, 1), 5000, (100, 300, 600)),
        ((100, 300, 600), (1, 2, 2), None, (100, 200, 200)),
        ((100, 300, 600), (0.5, 3, 1), None, (50, 300, 100)),
        ((100, 0, 600), (None,) * 3, 350, (50, 0, 300)),
    ],
)
def test_share_budget_by_hand(sizes, weights, budget, expected):
    names = ("a", "b", "c")
    shares = share_budget(dict(zip(names, sizes, strict=True)), dict(zip(names, weights, strict=True)), budget)
    assert tuple(shares[name] for name in names) == expected


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 100)), min_size=1, max_size=6),
    st.one_of(st.none(), st.integers(1, 4 * 10**9)),
    st.booleans(),
)
def test_share_budget_properties(sources, budget, weighted):
    sizes = {str(i): size for i, (size, _) in enumerate(sources)}
    weights = {str(i): weight if weighted else None for i, (_, weight) in enumerate(sources)}
    shares = share_budget(sizes, weights, budget)
    total = sum(shares.values())
    assert all(0 <= shares[name] <= sizes[name] for name in sizes)
    if budget is not None:
        assert total <= budget
        assert total >= min(budget, sum(sizes.values())) - len(sizes)  # each share is rounded down
    # What is not taken as a whole is taken in proportion to the weights, and nothing whole exceeds its proportion.
    rate = {name: shares[name] / (weights[name] or sizes[name]) for name in sizes}
    slack = {name: 1.01 / (weights[name] or sizes[name]) for name in sizes}
    partial = [name for name in sizes if shares[name] < sizes[name]]
    for name in partial:
        assert all(rate[other] <= rate[name] + slack[name] + slack[other] for other in sizes)
        assert all(abs(rate[other] - rate[name]) <= slack[name] + slack[other] for other in partial)


def test_document_hash():
    assert document_hash("a\u00e9").hex() == hashlib.blake2b(b"a\xc3\xa9", digest_size=16).hexdigest()


def test_no_usable_documents(tmp_path):
    write(tmp_path / "short.jsonl", ["ab", "", "cd"])
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match=r"source 'none': an empty corpus\n  found:    no usable document in 1 file"):
        prepare(tmp_path / "1", [source("none", tmp_path / "empty.txt")])
    with pytest.raises(InputError, match=r"(?s)2 file\(s\) \({'too_short': 2, 'empty': 1} dropped\).*short\.jsonl"):
        prepare(tmp_path / "2", [source("few", tmp_path / "short.jsonl", tmp_path / "empty.txt")])


def test_too_little_for_a_split(tmp_path):
    one = source("s", write(tmp_path / "s.jsonl", texts("s", 12)))
    with pytest.raises(InputError, match=r"(?s)split validation got no document.*12 documents read.*raise `validation_fraction`"):
        prepare(tmp_path / "1", [one], validation_fraction=1e-9)
    with pytest.raises(InputError, match=r"(?s)split train-000\d\d got no document.*lower `shards`"):
        prepare(tmp_path / "2", [one], shards=40, validation_fraction=0.5)


def test_files_that_change_meanwhile(tmp_path, monkeypatch):
    path = write(tmp_path / "s.jsonl", texts("s", 50))
    choose = corpus._choose

    def change(*arguments):
        write(path, texts("s", 51))
        return choose(*arguments)

    monkeypatch.setattr(corpus, "_choose", change)
    with pytest.raises(InputError, match="source 's': its files changed while they were read"):
        prepare(tmp_path / "out", [source("s", path)])


def test_many_documents_in_a_shard(tmp_path):
    """More than are buffered at once."""
    every = [f"document {i}" for i in range(2600)]
    _, shards = prepare(tmp_path / "out", [source("s", write(tmp_path / "s.jsonl", every))], shards=1)
    assert sorted(row["text"] for row in rows_of(shards)) == sorted(every)


def test_command_leaves_nothing_after_an_error(tmp_path):
    """A line in the middle is no JSON: the message names it, and no output exists."""
    path = write(tmp_path / "s.jsonl", texts("s", 30))
    path.write_text(path.read_text() + "oops\n")
    settings = {
        "byte_budget": None, "min_characters": 1, "validation_fraction": 0.2, "shards": 1, "seed": 1,
        "sources": {"s": {"files": [str(path)], "text_field": "text", "language": "en", "domain": "d", "license": "x", "weight": None}},
    }  # fmt: skip
    script = ROOT / "workflow/scripts/commands/text/prepare_corpus.py"
    options = ["--settings", json.dumps(settings), "--text", tmp_path / "text", "--manifest", tmp_path / "manifest.json"]
    result = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "s.jsonl line 31: not JSON" in result.stderr
    assert "Traceback" not in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["s.jsonl"]
