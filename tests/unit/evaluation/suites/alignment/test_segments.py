"""Segments of texts."""

from hypothesis import given
from hypothesis import strategies as st
from tokalign.evaluation.suites.alignment.segments import CHARACTERS_PER_WORD, sample_segments, segments


def test_by_hand():
    assert list(segments("a b c d e\n\n  f  g \nh", 2)) == ["a b", "c d", "e", "f g", "h"]
    assert list(segments("x" * 20, 1)) == ["x" * 8, "x" * 8, "x" * 4]
    assert list(segments("12345678 1234567 1", 2)) == ["12345678 1234567", "1"]
    assert list(segments("12345678 12345678 1", 2)) == ["12345678", "12345678 1"]
    assert list(segments(" \n", 3)) == []


@given(st.text("ab \n日", max_size=80), st.integers(1, 4))
def test_nothing_is_lost_or_too_long(text, words):
    found = list(segments(text, words))
    assert "".join("".join(found).split()) == "".join(text.split())
    for piece in found:
        assert piece == piece.strip() != ""
        assert len(piece.split()) <= words and len(piece) <= CHARACTERS_PER_WORD * words and "\n" not in piece


def test_a_sample_keeps_the_order_and_the_documents():
    texts = [" ".join(f"{d}.{i}" for i in range(50)) for d in range(4)]
    every, owners = sample_segments(texts, 1, 1000, 1)
    assert every == [f"{d}.{i}" for d in range(4) for i in range(50)]
    assert owners.tolist() == [d for d in range(4) for _ in range(50)]
    some, own = sample_segments(texts, 1, 30, 1)
    assert len(some) == len(set(some)) == 30
    assert some == [piece for piece in every if piece in some]
    assert [piece.split(".")[0] for piece in some] == [str(d) for d in own]
    assert sample_segments(texts, 1, 30, 1)[0] == some != sample_segments(texts, 1, 30, 2)[0]
    empty, nobody = sample_segments([" "], 3, 5, 1)
    assert (empty, len(nobody)) == ([], 0)
