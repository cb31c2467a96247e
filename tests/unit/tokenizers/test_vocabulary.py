from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.vocabularies import BYTE_LEVEL, BYTE_VOCABULARY, PIECE_VOCABULARY, SENTENCEPIECE, byte_level
from tokalign.common.errors import ArtifactError, InputError
from tokalign.tokenizers.vocabulary import byte_alphabet, check_usable, describe, read_vocabulary, write_vocabulary
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def test_alphabet_is_that_of_the_tokenizers_library_and_covers_every_byte():
    alphabet = byte_alphabet()
    assert sorted(alphabet.values()) == list(range(256))
    assert set(alphabet) == set(pre_tokenizers.ByteLevel.alphabet())
    # From the published table of GPT-2: Ġ is the space, Ċ the newline, ĉ the tab, and ASCII letters are themselves.
    assert [alphabet[character] for character in "ĠĊĉAzÃ©"] == [0x20, 0x0A, 0x09, 0x41, 0x7A, 0xC3, 0xA9]


def test_the_same_word_has_the_same_bytes_in_both_spellings():
    byte_id = BYTE_LEVEL.get_vocab()["Ġthe"]
    piece_id = SENTENCEPIECE.get_vocab()["▁the"]
    assert BYTE_VOCABULARY.token_bytes[byte_id] == PIECE_VOCABULARY.token_bytes[piece_id] == b" the"
    assert BYTE_VOCABULARY.kinds[byte_id] == PIECE_VOCABULARY.kinds[piece_id] == "text"


def test_every_byte_has_a_token_in_the_byte_level_vocabulary():
    assert {bytes([byte]) for byte in range(256)} <= set(BYTE_VOCABULARY.token_bytes)


def test_pieces():
    def piece(token: str) -> tuple[bytes, str]:
        i = SENTENCEPIECE.get_vocab()[token]
        return PIECE_VOCABULARY.token_bytes[i], PIECE_VOCABULARY.kinds[i]

    assert piece("<0xE2>") == (b"\xe2", "byte")
    assert piece("<0x0A>") == (b"\n", "byte")
    assert piece("▁") == (b" ", "text")
    assert piece("▁▁") == (b"  ", "text")
    assert piece("a▁t") == (b"a t", "text")
    assert piece("é") == ("é".encode(), "text")
    assert piece("</s>") == (b"</s>", "special")


def test_angle_brackets_are_text_where_there_is_no_byte_fallback():
    tokenizer = Tokenizer(models.BPE({"<0xE2>": 0, "▁a": 1}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    vocabulary = describe(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    assert list(zip(vocabulary.token_bytes, vocabulary.kinds, strict=True)) == [(b"<0xE2>", "text"), (b" a", "text")]


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_bytes_of_the_ids_are_the_text_byte_level(text):
    ids = BYTE_LEVEL(text, add_special_tokens=False)["input_ids"]
    assert b"".join(BYTE_VOCABULARY.token_bytes[i] for i in ids) == text.encode()


@given(st.text(st.one_of(st.sampled_from("the a\n"), st.characters(exclude_characters="▁", exclude_categories=["Cs"]))))
@settings(max_examples=200, deadline=None)
def test_bytes_of_the_ids_are_the_text_sentencepiece(text):
    if any(special in text for special in ("<unk>", "<s>", "</s>")):
        return
    ids = SENTENCEPIECE(text, add_special_tokens=False)["input_ids"]
    expected = b" " + text.encode() if text else b""
    assert b"".join(PIECE_VOCABULARY.token_bytes[i] for i in ids) == expected


def test_roles_and_turn_markers():
    assert BYTE_VOCABULARY.roles == {"bos": 0, "eos": 1, "turn_start": 0, "turn_end": 1}
    assert BYTE_VOCABULARY.kinds[:2] == ["special", "special"]
    assert PIECE_VOCABULARY.roles == {"unk": 0, "bos": 1, "eos": 2}


def test_a_chat_marker_is_a_role_only_as_a_special_token():
    tokenizer = byte_level()
    tokenizer.add_tokens(["<|eot_id|>"])
    vocabulary = describe(tokenizer)
    assert (vocabulary.kinds[-1], vocabulary.token_bytes[-1]) == ("text", b"<|eot_id|>")
    assert "turn_end" in vocabulary.roles
    assert vocabulary.roles["turn_end"] == 1


def test_added_tokens_are_literal_in_byte_level_vocabularies():
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("  é", normalized=False)])
    vocabulary = describe(tokenizer)
    assert (vocabulary.token_bytes[280], vocabulary.kinds[280]) == ("  é".encode(), "text")
    assert vocabulary.size == 281


def test_ids_without_a_token_and_unreachable_spellings_are_unused():
    tokenizer = Tokenizer(models.BPE({"a": 0, "Ġ": 1, "b c": 4}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    vocabulary = describe(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    assert vocabulary.kinds == ["text", "text", "unused", "unused", "unused"]
    assert vocabulary.tokens[2:] == ["", "", "b c"]


def test_wordpiece_is_refused():
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    with pytest.raises(InputError, match="WordPiece"):
        describe(PreTrainedTokenizerFast(tokenizer_object=tokenizer))


def test_round_trip_of_the_file(tmp_path: Path):
    for vocabulary in (BYTE_VOCABULARY, PIECE_VOCABULARY):
        write_vocabulary(vocabulary, tmp_path / "vocabulary.parquet")
        assert read_vocabulary(tmp_path / "vocabulary.parquet") == vocabulary
    table = pq.read_table(tmp_path / "vocabulary.parquet")
    assert table.schema.field("id").type == pa.int32()
    assert table.schema.field("bytes").type == pa.binary()
    assert table.column("roles").to_pylist()[:4] == [["unk"], ["bos"], ["eos"], []]


def test_damaged_files_are_refused(tmp_path: Path):
    with pytest.raises(ArtifactError):
        read_vocabulary(tmp_path / "absent.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ArtifactError):
        read_vocabulary(tmp_path / "bad.parquet")
    write_vocabulary(BYTE_VOCABULARY, tmp_path / "gap.parquet")
    pq.write_table(pq.read_table(tmp_path / "gap.parquet").slice(1), tmp_path / "gap.parquet")
    with pytest.raises(ArtifactError, match="ids are not"):
        read_vocabulary(tmp_path / "gap.parquet")


def test_usable_tokenizers_pass_and_one_without_eos_does_not():
    check_usable(BYTE_LEVEL, BYTE_VOCABULARY, "tokenizers.mine")
    spec = json.loads(BYTE_LEVEL.backend_tokenizer.to_str())
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(spec)))
    with pytest.raises(InputError, match=r"tokenizers.mine: no end-of-text token[\s\S]*special_tokens"):
        check_usable(bare, describe(bare), "tokenizers.mine")


def test_a_tokenizer_that_loses_plain_text_is_refused():
    tokenizer = Tokenizer(models.BPE({"</s>": 0, "▁": 1, "T": 2, "h": 3}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    with pytest.raises(InputError, match="does not reproduce a text"):
        check_usable(fast, describe(fast), "mine")
