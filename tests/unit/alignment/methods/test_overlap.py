"""Tokens that are the same on both sides, against all pairs: the same bytes, or the same role."""

from __future__ import annotations

import numpy as np
import pytest
from support.sides import (
    BYTES,
    PIECES,
    SMALL,
    as_dict,
    by_hand,
    every,
)
from tokalign.alignment.methods.overlap import align_by_bytes, align_by_role, exact_pairs, ids_by_bytes

# --- exact ---


@pytest.mark.parametrize(("target", "source"), [(BYTES, PIECES), (PIECES, BYTES), (BYTES, SMALL)])
def test_exact_by_bytes_whatever_the_spelling(target, source):
    """Brute force over all pairs of ordinary tokens; a `byte` fallback is taken only where no text token has the byte."""
    rows = align_by_bytes(target, source, every(target), {})
    found = as_dict(rows)
    ours, theirs = target.vocabulary, source.vocabulary
    for i in range(ours.size):
        same = [
            (theirs.kinds[j] == "byte", j)
            for j in range(theirs.size)
            if theirs.token_bytes[j] == ours.token_bytes[i] and theirs.kinds[j] in ("text", "byte")
        ]
        expected = {min(same)[1]: 1.0} if same and ours.kinds[i] in ("text", "byte") else None
        assert found.get(i) == expected
    assert rows.category == "exact"
    assert np.isnan(rows.scores).all()


def test_exact_pairs_by_name():
    ours, theirs = BYTES.tokenizer.get_vocab(), PIECES.tokenizer.get_vocab()
    pairs = dict(zip(*(part.tolist() for part in exact_pairs(BYTES.vocabulary, PIECES.vocabulary)), strict=True))
    assert pairs[ours["Ġthe"]] == theirs["▁the"]
    assert pairs[ours["t"]] == theirs["t"]  # not <0x74>
    assert pairs[ours["Ġ"]] == theirs["▁"]
    assert pairs[ours["Ã"]] == theirs["<0xC3>"]
    assert ours["<eos>"] not in pairs
    assert ids_by_bytes(PIECES.vocabulary)[b"t"] == theirs["t"]


def test_exact_for_open_tokens_only():
    ids = BYTES.tokenizer.get_vocab()
    wanted = np.array(sorted([ids["Ġthe"], ids["t"], ids["<eos>"]]))
    assert set(as_dict(align_by_bytes(BYTES, PIECES, wanted, {}))) == {ids["Ġthe"], ids["t"]}


# --- special ---


def test_roles_first_then_the_same_text_then_a_stand_in():
    source = by_hand(
        ("<unk>", "special"), ("<s>", "special"), ("</s>", "special"), ("<sep>", "special"), ("a", "text"),
        roles={"unk": 0, "bos": 1, "eos": 2},
    )  # fmt: skip
    target = by_hand(
        ("<sep>", "special"),  # 0: the same text
        ("<start>", "special"),  # 1: bos
        ("<end>", "special"),  # 2: eos and pad: eos decides
        ("<s>", "special"),  # 3: pad by role; the source has no pad, but the text
        ("<turn>", "special"),  # 4: turn_end, stands for eos
        ("<mask>", "special"),  # 5: nothing like it
        ("a", "text"),  # 6: no special token
        ("<x>", "text"),  # 7: unk, though an ordinary token
        roles={"bos": 1, "eos": 2, "pad": 3, "turn_end": 4, "mask": 5, "unk": 7},
    )  # fmt: skip
    rows = align_by_role(target, source, every(target), {})
    assert as_dict(rows) == {0: {3: 1}, 1: {1: 1}, 2: {2: 1}, 3: {1: 1}, 4: {2: 1}, 7: {0: 1}}
    assert rows.category == "special"
    assert set(as_dict(align_by_role(target, source, np.array([2, 5]), {}))) == {2}


def test_stand_ins_where_the_source_has_only_an_end_of_text():
    source = by_hand(("x", "text"), ("<end>", "special"), roles={"eos": 1})
    target = by_hand(("<b>", "special"), ("<p>", "special"), ("<u>", "special"), ("<e>", "special"),
                     roles={"bos": 0, "pad": 1, "unk": 2, "eos": 3})  # fmt: skip
    assert as_dict(align_by_role(target, source, every(target), {})) == {0: {1: 1}, 1: {1: 1}, 3: {1: 1}}


def test_one_token_of_several_roles():
    """`<end>` ends texts and pads; the source has another token for each."""
    source = by_hand(("<pad>", "special"), ("<eos>", "special"), roles={"pad": 0, "eos": 1})
    target = by_hand(("<end>", "special"), roles={"pad": 0, "eos": 0})
    assert as_dict(align_by_role(target, source, every(target), {})) == {0: {1: 1}}
