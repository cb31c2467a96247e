"""The published rules against a dense implementation with dictionaries, and mappings that are imported and exported."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from scipy import sparse
from support.sides import rng_rows
from tokalign.alignment.align import Side
from tokalign.alignment.matrix import heaviest_sources
from tokalign.alignment.methods.imported import align_by_import
from tokalign.alignment.methods.tokalign_paper import align_as_published, equal_spellings
from tokalign.common.errors import InputError
from tokalign.tokenizers.vocabulary import Vocabulary
from tokalign.vectors.vectors import Vectors


def side(tokens: list[str], with_vectors: list[int], seed: int, dimensions: int = 5) -> Side:
    """Return a side whose tokens have vectors in the order of ``with_vectors``; canonical bytes play no part."""
    kinds = ["special" if token.startswith("<") else "text" if token else "unused" for token in tokens]
    vocabulary = Vocabulary(tokens, [b"?"] * len(tokens), kinds, {})
    vectors = rng_rows(seed, len(with_vectors), dimensions)
    ids, counts = np.array(with_vectors, np.int32), np.ones(len(with_vectors), np.int64)
    return Side(vocabulary, None, Vectors(vectors, ids, counts, {"vocabulary_size": len(tokens)}))


TARGET = side([*"abcdefgh", "<eos>", *"ijklmnop", "", *"qrstuv"], [3, 0, 1, 2, 9, 4, 5, 6, 12, 10, 11, 8, 13, 20, 18, 21, 19], 1)
SOURCE = side(["<eos>", *"hgfedcba", "", *"ABCDEFGHIJ"], [19, 1, 2, 3, 4, 5, 0, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17], 2)


def as_published(mode: str, number: int, seeded: bool = True) -> dict[int, tuple[int, str]]:
    """Follow the original program: dictionaries of text ids, a dense similarity matrix in float64."""
    spelling = {token: i for i, token in enumerate(SOURCE.vocabulary.tokens) if token}
    tokens = TARGET.vocabulary.tokens
    gold = {str(i): spelling[token] for i, token in enumerate(tokens) if token in spelling}
    first, second = (
        {str(i): np.array(v, np.float64) for i, v in zip(one.vectors.token_ids, one.vectors.vectors, strict=True)}
        for one in (TARGET, SOURCE)
    )
    random.seed(0)
    unit = [{i: v / np.linalg.norm(v) for i, v in space.items()} for space in (first, second)]
    rows = unit
    if mode == "relative":
        ids = list(gold)
        random.shuffle(ids)
        pivots = []
        for i in ids:
            if i in first and str(gold[i]) in second:
                pivots.append(i)
            if len(pivots) >= number:
                break
        rows = [
            {i: np.array([v @ unit[0][p] for p in pivots]) for i, v in unit[0].items()},
            {i: np.array([v @ unit[1][str(gold[p])] for p in pivots]) for i, v in unit[1].items()},
        ]
    names = list(rows[1])
    similarity = {i: np.array([v @ rows[1][j] for j in names]) for i, v in rows[0].items()}
    found = {}
    for i in range(len(tokens)):
        if str(i) in gold:
            found[i] = (gold[str(i)], "exact")
        elif str(i) not in first:
            found[i] = (random.randint(0, len(SOURCE.vocabulary.tokens) - 1), "random")
        else:
            found[i] = (int(names[int(np.argmax(similarity[str(i)]))]), "aligned")
    return found


@pytest.mark.parametrize("mode", ["relative", "vanilla"])
@pytest.mark.parametrize("number", [2, 5, 300])
def test_published_rules(mode, number):
    settings = {"tokalign_paper": {"pivots": number, "mode": mode}, "threads": 2}
    rows = align_as_published(TARGET, SOURCE, np.arange(24), settings)
    expected = as_published(mode, number)
    assert {i: (j, c) for i, j, c in zip(rows.ids.tolist(), rows.sources.tolist(), rows.category, strict=True)} == expected
    kinds = [category for _, category in expected.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"exact": 9, "random": 6, "aligned": 9}
    assert np.isnan(rows.scores[rows.category != "aligned"]).all()
    scores = rows.scores[rows.category == "aligned"]
    assert (np.abs(scores) <= 1 + 1e-6).all()
    part = align_as_published(TARGET, SOURCE, np.array([9, 14, 17, 23]), settings)
    assert dict(zip(part.ids.tolist(), part.sources.tolist(), strict=True)) == {i: expected[i][0] for i in (9, 14, 17, 23)}


def test_scores_are_cosines_of_what_is_compared():
    rows = align_as_published(TARGET, SOURCE, np.arange(24), {"tokalign_paper": {"pivots": 1, "mode": "vanilla"}, "threads": 1})
    ours, theirs = ({int(i): v for i, v in zip(s.vectors.token_ids, s.vectors.vectors, strict=True)} for s in (TARGET, SOURCE))
    for i, j, category, score in zip(rows.ids.tolist(), rows.sources.tolist(), rows.category, rows.scores, strict=True):
        if category == "aligned":
            x, y = ours[i].astype(np.float64), theirs[j].astype(np.float64)
            assert score == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)), abs=1e-6)


def test_spelling_not_bytes():
    assert equal_spellings(TARGET.vocabulary, SOURCE.vocabulary) == {i: 8 - i for i in range(8)} | {8: 0}


def test_without_pivots_or_equal_dimensions():
    alone = side(["x", "y"], [0, 1], 3)
    with pytest.raises(InputError, match="tokalign_paper: no pivots"):
        align_as_published(alone, SOURCE, np.arange(2), {"tokalign_paper": {"pivots": 5, "mode": "relative"}, "threads": 1})
    other = side(["a", "y"], [0, 1], 3, dimensions=4)
    with pytest.raises(InputError, match=r"(?s)by tokalign_paper: .*4 dimensions"):
        align_as_published(other, SOURCE, np.arange(2), {"tokalign_paper": {"pivots": 5, "mode": "vanilla"}, "threads": 1})


# --- imported and exported ---


def imported(path, text: str, open_ids=range(24), padding: str = "error") -> dict[int, int]:
    path.write_text(text, encoding="utf-8")
    settings = {"imported": {"file": str(path), "padding": padding}}
    rows = align_by_import(TARGET, SOURCE, np.array(open_ids), settings)
    assert rows.category == "imported"
    return dict(zip(rows.ids.tolist(), rows.sources.tolist(), strict=True))


def test_imported_mapping(tmp_path):
    text = json.dumps({"3": 7, "0": 19, "23": 0, "5": -1}, indent="\t")
    assert imported(tmp_path / "m.json", text) == {0: 19, 3: 7, 23: 0}
    assert imported(tmp_path / "m.json", text, open_ids=[3, 4, 5]) == {3: 7}
    assert imported(tmp_path / "m.json", "{}") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"24": 0}', r"m\.json: key '24': the target id 24 is not in the target tokenizer\n.*\n  expected: 0 to 23"),
        ('{"3": 20}', r"m\.json: key '3': the source id 20 is not in the source tokenizer\n.*\n  expected: -1 to 19"),
        ('{"3": -2}', r"key '3': the source id -2"),
        ('{"-1": 2}', r"key '-1': no target id"),
        ('{"x": 2}', r"key 'x': no target id"),
        ('{"3": 2.0}', r"key '3': no source id\n  found:    2\.0"),
        ('{"3": true}', r"key '3': no source id\n  found:    True"),
        ('{"3": [1]}', r"key '3': no source id"),
        ('{"3": 1, "4": 2, "3": 5}', r"target id '3' comes twice\n  found:    \[1, 5\]"),
        ("[1]", r"m\.json: no mapping\n  found:    list"),
        ('{"3": 1', r"m\.json: not valid JSON"),
    ],
)
def test_mappings_that_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        imported(tmp_path / "m.json", text)


def test_entries_of_padding_rows_can_be_skipped(tmp_path):
    text = '{"24": 0, "3": 20, "4": 7, "99": 99}'
    assert imported(tmp_path / "m.json", text, padding="skip") == {4: 7}
    with pytest.raises(InputError, match="key '3': the source id -2"):
        imported(tmp_path / "m.json", '{"3": -2}', padding="skip")


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        align_by_import(TARGET, SOURCE, np.arange(3), {"imported": {"file": str(tmp_path / "none.json"), "padding": "error"}})


def test_heaviest_source_of_each_row():
    matrix = sparse.csr_matrix(np.array([[0, 0.25, 0.75], [0, 0, 0], [0.5, 0, 0.5], [-2, 0, -1], [0, 1, 0]], np.float32))
    assert heaviest_sources(matrix).tolist() == [2, -1, 0, 2, 1]
    assert heaviest_sources(sparse.csr_matrix((2, 3), dtype=np.float32)).tolist() == [-1, -1]
