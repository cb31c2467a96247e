"""Tokens that their tokenizer never makes."""

import json

from support.project import WORDS, write_tokenizer
from tokalign.tokenizers.loading import load_tokenizer
from tokalign.tokenizers.unreachable import unreachable_tokens
from tokalign.tokenizers.vocabulary import describe
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def test_unreachable_tokens(tmp_path):
    """``xyz`` has no merge that makes it, so `x`, `y` and `z` come instead; a lone byte of é cannot be tried."""
    write_tokenizer(tmp_path / "t", [WORDS["en"]] * 20, 300)
    spec = json.loads((tmp_path / "t/tokenizer.json").read_text())
    number = len(spec["model"]["vocab"])
    spec["model"]["vocab"]["xyz"] = number
    (tmp_path / "t/tokenizer.json").write_text(json.dumps(spec))
    tokenizer = load_tokenizer(tmp_path / "t")
    found = unreachable_tokens(tokenizer, describe(tokenizer))
    assert found["unreachable"] == 1
    assert found["examples"] == [{"id": number, "text": "xyz", "pieces": ["x", "y", "z"]}]
    assert found["partial_characters"] == 128  # the bytes from 0x80 on
    assert found["tested"] == 301 - 1 - 128  # all but <eos> and these


def test_pieces_within_words_are_reachable_in_the_manner_of_sentencepiece():
    """``the`` alone is cut as ``▁the``; behind a newline the piece itself comes."""
    vocab = {"<s>": 0, "<0x0A>": 1, "▁": 2, "t": 3, "h": 4, "th": 5, "▁th": 6, "zz": 7}
    tokenizer = Tokenizer(models.BPE(vocab, [("t", "h"), ("▁", "th")], byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")
    found = unreachable_tokens(tokenizer, describe(tokenizer))
    assert [e["text"] for e in found["examples"]] == ["zz"]
