"""A byte-level and a SentencePiece-like tokenizer with their vocabularies."""

from __future__ import annotations

from tokalign.config.sources import BpeSettings
from tokalign.tokenizers.bpe import train_bpe
from tokalign.tokenizers.vocabulary import describe
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from support.settings import unchecked

TEXTS = ["the cat and the dog, the 12 mice", "größer और 日本語 the end", "def f(x):\n    return x + 1\n"] * 5


def byte_level() -> PreTrainedTokenizerFast:
    return train_bpe(
        TEXTS,
        unchecked(BpeSettings, vocabulary_size=280, min_frequency=2, digits="individual"),
        {"eos": "<|im_end|>", "bos": "<|im_start|>"},
    )


def sentencepiece(prefix: bool = True) -> PreTrainedTokenizerFast:
    """Return a BPE as SentencePiece makes it: ▁ for the space, <0xNN> for bytes without a piece."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "t", "h", "e", "a", "é", "th", "the", "▁the", "▁▁", "a▁t"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "▁")]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    marks = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*marks, normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in pieces[:3]])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


BYTE_LEVEL, SENTENCEPIECE = byte_level(), sentencepiece()
BYTE_VOCABULARY, PIECE_VOCABULARY = describe(BYTE_LEVEL), describe(SENTENCEPIECE)
