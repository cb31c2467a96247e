"""Tokens cut into pieces of the source, and the weights of these pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sides import (
    BYTES,
    PIECES,
    SMALL,
    as_dict,
    by_hand,
    every,
    sentencepiece,
    side,
)
from tokalign.alignment.align import Side
from tokalign.alignment.methods.decomposition import align_by_decomposition, longest_pieces, place_weights
from tokalign.tokenizers.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mean", [1, 0.5, 0.5, 1 / 3, 1 / 3, 1 / 3]),
        ("later", [1, 1 / 3, 2 / 3, 1 / 7, 2 / 7, 4 / 7]),
        ("last", [1, 0, 1, 0, 0, 1]),
        ("first", [1, 1, 0, 1, 0, 0]),
    ],
)
def test_weights_of_pieces_by_place(kind, expected):
    weights = place_weights(np.array([1, 2, 3]), kind)
    assert weights.dtype == np.float32
    assert weights.tolist() == pytest.approx(expected)


def test_pieces_weigh_differently_in_head_and_input():
    block = {"decomposed": {"input": "last", "output": "first"}}
    rows = align_by_decomposition(BYTES, SMALL, every(BYTES), block)
    starts, ends = rows.indptr[:-1], rows.indptr[1:] - 1
    assert rows.weights[ends].tolist() == [1.0] * len(rows.ids)
    assert rows.output_weights[starts].tolist() == [1.0] * len(rows.ids)
    assert (rows.indptr[1:] - rows.indptr[:-1]).max() > 1
    assert rows.weights.sum() == rows.output_weights.sum() == len(rows.ids)


@pytest.mark.parametrize(
    ("target", "source"), [(BYTES, SMALL), (SMALL, BYTES), (BYTES, PIECES), (PIECES, BYTES), (PIECES, SMALL)]
)
def test_pieces_have_the_bytes_of_the_token(target, source):
    """Joined, the pieces are the token again, whichever tokenizer cuts; and each has the same weight."""
    rows = align_by_decomposition(target, source, every(target), {})
    ours, theirs = target.vocabulary, source.vocabulary
    assert rows.ids.tolist() == [i for i in range(ours.size) if ours.token_bytes[i]]
    as_dict(rows)
    for n, i in enumerate(rows.ids):
        pieces = rows.sources[rows.indptr[n] : rows.indptr[n + 1]]
        assert b"".join(theirs.token_bytes[j] for j in pieces) == ours.token_bytes[i]
        assert rows.weights[rows.indptr[n] : rows.indptr[n + 1]] == pytest.approx([1 / len(pieces)] * len(pieces))
    assert rows.category == "decomposed"


def test_the_source_tokenizer_cuts():
    words = ["Ġthe", "Ġread", "ein", "ĠæĹ¥æľ¬"]
    ids = [BYTES.tokenizer.get_vocab()[word] for word in words]
    found = as_dict(align_by_decomposition(BYTES, SMALL, np.array(ids), {}))
    for i, text in zip(ids, [" the", " read", "ein", " 日本"], strict=True):
        pieces = SMALL.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert found[i] == pytest.approx({j: pieces.count(j) / len(pieces) for j in pieces})


def test_parts_of_characters():
    """The first two bytes of 日 are no text; they are their bytes."""
    target = Side(Vocabulary(["x", "y"], [b"\xe6\x97", b"t\xff"], ["text", "text"], {}), None)
    ids = PIECES.tokenizer.get_vocab()
    found = as_dict(align_by_decomposition(target, PIECES, every(target), {}))
    assert found == {0: {ids["<0xE6>"]: 0.5, ids["<0x97>"]: 0.5}, 1: {ids["t"]: 0.5, ids["<0xFF>"]: 0.5}}


def test_no_space_in_front():
    """The source puts a space in front of every text; a token without one is cut into the longest pieces instead."""
    ids = PIECES.tokenizer.get_vocab()
    target = by_hand(("the", "text"), (" the", "text"), ("thext", "text"), ("日", "text"))
    found = as_dict(align_by_decomposition(target, PIECES, every(target), {}))
    assert found == {
        0: {ids["the"]: 1}, 1: {ids["▁the"]: 1}, 2: {ids["the"]: 0.5, ids["xt"]: 0.5}, 3: {ids["日"]: 1},
    }  # fmt: skip


def test_what_the_source_cannot_spell_is_left_to_the_next_method():
    source = side(sentencepiece(byte_fallback=False))
    target = by_hand(("the日", "text"), ("the語", "text"), ("", "unused"))
    assert set(as_dict(align_by_decomposition(target, source, every(target), {}))) == {0}


@given(st.binary(max_size=12), st.sets(st.binary(min_size=1, max_size=3), max_size=8))
def test_longest_pieces(data, words):
    """Cut greedily by definition."""
    known = {word: i for i, word in enumerate(sorted(words))}
    rest, expected = data, []
    while rest:
        fits = [word for word in known if rest.startswith(word)]
        if not fits:
            expected = None
            break
        expected.append(known[max(fits, key=len)])
        rest = rest[len(max(fits, key=len)) :]
    assert longest_pieces(data, known, max(map(len, known), default=0)) == expected
