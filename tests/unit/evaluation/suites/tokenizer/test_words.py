"""Words in context, against the offsets that fast tokenizers give for the same texts."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.vocabularies import BYTE_LEVEL, BYTE_VOCABULARY, PIECE_VOCABULARY, SENTENCEPIECE
from tokalign.evaluation.suites.tokenizer.words import TokenBytes, count_words, white_space
from tokalign.tokenizers.vocabulary import describe
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TOKENIZERS = {
    "byte-level": (BYTE_LEVEL, TokenBytes.of(BYTE_VOCABULARY.token_bytes)),
    "sentencepiece": (SENTENCEPIECE, TokenBytes.of(PIECE_VOCABULARY.token_bytes)),
}
CHARACTERS = st.one_of(
    st.sampled_from("the cat a\n\t,.é日🐈\u3000\u00a0\u2003\u1680\x1c\x85"),
    st.characters(exclude_characters="▁", exclude_categories=["Cs"]),
)
TEXTS = st.lists(
    st.one_of(st.text(CHARACTERS), st.lists(st.sampled_from(["the", "cat", "the,", "a the"])).map(" ".join)), max_size=5
)


def by_offsets(tokenizer, text):
    """Words, continued and single-token words of a text, by the characters that its tokens stand for.

    The space that SentencePiece puts before a text has the offsets of the first character.
    """
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spelled = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    tokens = [place for place, token in zip(encoded["offset_mapping"], spelled, strict=True) if token.strip("▁")]
    words, continued, single, at = text.split(), 0, 0, 0
    for word in words:
        at = text.index(word, at)
        over = [(begin, end) for begin, end in tokens if begin < at + len(word) and end > at]
        continued += len(over) > 1
        single += len(over) == 1 and text[slice(*over[0])].split() == [word]
        at += len(word)
    return len(words), continued, single


def counted(name, texts):
    tokenizer, token_bytes = TOKENIZERS[name]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    offsets = np.cumsum([0, *map(len, ids)])
    found = count_words(np.array([i for document in ids for i in document], dtype=np.uint32), offsets, token_bytes)
    return list(zip(found.words.tolist(), found.continued.tolist(), found.single.tolist(), strict=True))


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None, max_examples=200)
@given(texts=TEXTS)
def test_equals_the_offsets_of_the_tokenizer(name, texts):
    assert counted(name, texts) == [by_offsets(TOKENIZERS[name][0], text) for text in texts]


def test_white_space_is_that_of_python():
    """Every character but lone surrogates, in one text, between two letters."""
    every = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    lengths = np.array([len(c.encode()) for c in every])
    found = white_space(np.frombuffer("".join(every).encode(), dtype=np.uint8))
    assert found.tolist() == np.repeat([c.isspace() for c in every], lengths).tolist()
    cut = np.frombuffer(b"\xe2\x80\x83\xe2\x80", dtype=np.uint8)
    assert white_space(cut).tolist() == [True] * 3 + [False] * 2


def by_hand(documents):
    vocabulary = dict.fromkeys(token for document in documents for token in document)
    ids = {token: i for i, token in enumerate(vocabulary)}
    offsets = np.cumsum([0, *map(len, documents)])
    found = count_words(
        np.array([ids[token] for document in documents for token in document], dtype=np.uint32), offsets, TokenBytes.of(list(ids))
    )
    return list(zip(found.words.tolist(), found.continued.tolist(), found.single.tolist(), strict=True))


def test_what_counts_by_hand():
    assert by_hand([[b"The", b" cat", b" sat"]]) == [(3, 0, 3)]
    assert by_hand([[b" the", b" end", b"."]]) == [(2, 1, 1)]  # `end.` is one word, of two tokens
    assert by_hand([[b"in the", b" end"]]) == [(3, 0, 1)]  # `in` and `the` share a token: neither continued nor single
    assert by_hand([[b"in the", b"m"]]) == [(2, 1, 0)]  # `in` shares a token with a part of `them`
    assert by_hand([[b" the ", b"cat"]]) == [(2, 0, 2)]  # white space behind a word does not count either
    assert by_hand([[b"ca", b"", b"t"], [b"", b"cat", b""]]) == [(1, 1, 0), (1, 0, 1)]
    assert by_hand([[b"a", b" "], [b"b"], [], [b" ", b"\n"], [b"\xc3", b"\xa9"]]) == [
        (1, 0, 1), (1, 0, 1), (0, 0, 0), (0, 0, 0), (1, 1, 0)
    ]  # fmt: skip
    assert by_hand([[]]) == [(0, 0, 0)]


def test_words_without_their_space_are_not_those_of_the_text():
    """The way not to do it: ``Ġzo`` is a token, but ``zo`` alone is two, so that no word seems to be kept."""
    tokenizer = Tokenizer(models.BPE({"z": 0, "o": 1, "Ġ": 2, "Ġz": 3, "Ġzo": 4}, [("Ġ", "z"), ("Ġz", "o")]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    text = "zo zo zo"
    assert [len(fast(word)["input_ids"]) for word in text.split()] == [2, 2, 2]
    ids = np.array(fast(text)["input_ids"], dtype=np.uint32)
    found = count_words(ids, np.array([0, len(ids)]), TokenBytes.of(describe(fast).token_bytes))
    assert (found.words.item(), found.continued.item(), found.single.item()) == (3, 1, 2)
