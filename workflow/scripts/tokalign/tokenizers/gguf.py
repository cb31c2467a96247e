"""Convert the tokenizer in a GGUF file to a fast tokenizer with the same ids.

The converters of transformers omit details of the pre-tokenizers (the digits of SmolLM2, for example), so the
pre-tokenizers are defined here, by their names in `tokenizer.ggml.pre` (llama.cpp, src/llama-vocab.cpp).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tokalign.common.errors import InputError

log = logging.getLogger(__name__)


class TokenType(IntEnum):
    """Values of `tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS: dict[str, str] = {
    "gpt-2": "words",
    "mpt": "words",
    "gpt-neox": "words",
    "olmo": "words",
    "smollm": "digits",
    "starcoder": "digits",
    "refact": "digits",
    "qwen2": _WORDS % r"\p{N}",
    "llama-bpe": _WORDS % r"\p{N}{1,3}",
}
"""`tokenizer.ggml.pre` -> `words` (GPT-2's regular expression), `digits` (the same after splitting digits) or a regex."""

_NFC = ("gpt-neox", "olmo", "mpt", "qwen2")
_PRE_OF_ARCHITECTURE = {"gpt2": "gpt-2", "gptneox": "gpt-neox"}
_ROLES = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad", "seperator": "sep", "cls": "cls", "mask": "mask"}

SAMPLES = (
    "The quick brown fox can't jump over 1234567 lazy dogs.\nNew line.",
    " leading,  double   and trailing spaces \t\n\n",
    "def f(x):\n    return [i**2 for i in range(x)]  # done\n",
    "人工智能正在改变世界。これは日本語の文章です。",
    "Größe, forêt, niño, река, भारत एक विशाल देश है। مرحبا",
    "🙂👩‍🚀 ½ → ∑",
)


def read_gguf_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """Convert the vocabulary in a GGUF file to a fast tokenizer.

    Byte-level BPE (`tokenizer.ggml.model` gpt2) with the pre-tokenizers of `PRE_TOKENIZERS`, and SentencePiece BPE with
    byte fallback (model llama). Special tokens and roles are those of the file; filler tokens (``[PADn]``) are rows of
    the embedding without a token.

    Raises:
        InputError: the file is damaged, holds no tokenizer or one of another type, or the converted tokenizer does not
            reproduce sample text.
    """
    fields = _metadata(path)
    model = fields.get("tokenizer.ggml.model")
    if model == "gpt2":
        tokenizer = _byte_level(path, fields)
    elif model == "llama":
        tokenizer = _sentencepiece(path, fields)
    else:
        raise _unsupported(path, f"tokenizer.ggml.model = {model!r}")
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    vocabulary = tokenizer.get_vocab()
    user_defined = [text for text, i in vocabulary.items() if types[i] == TokenType.USER_DEFINED]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in sorted(user_defined, key=vocabulary.get)])
    control = [text for text, i in vocabulary.items() if types[i] in (TokenType.CONTROL, TokenType.UNKNOWN)]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in sorted(control, key=vocabulary.get)])
    names = {
        f"{role}_token": tokens[fields[f"tokenizer.ggml.{key}_token_id"]]
        for key, role in _ROLES.items()
        if f"tokenizer.ggml.{key}_token_id" in fields
    }
    _add_template(tokenizer, fields, names)
    options: dict[str, Any] = dict(names)
    length = fields.get(f"{fields.get('general.architecture')}.context_length")
    if length:
        options["model_max_length"] = int(length)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)
    fast.chat_template = fields.get("tokenizer.chat_template")
    _check_round_trip(path, fast)
    return fast


def _metadata(path: Path) -> dict[str, Any]:
    """Read the key-value section of a GGUF file."""
    try:
        fields = {key: field.contents() for key, field in GGUFReader(path).fields.items()}
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{path}: damaged GGUF file", found=error, mend="get the file again") from error
    if "tokenizer.ggml.tokens" not in fields:
        raise InputError(f"{path}: holds no tokenizer", mend="give the tokenizer as a folder (source: folder)")
    count = len(fields["tokenizer.ggml.tokens"])
    fields.setdefault("tokenizer.ggml.token_type", [TokenType.NORMAL] * count)
    return fields


def _unsupported(path: Path, found: str) -> InputError:
    """Return the error for a tokenizer that cannot be converted with the same ids."""
    return InputError(
        f"{path}: this type of tokenizer cannot be converted",
        found=found,
        expected=f"byte-level BPE (gpt2) with tokenizer.ggml.pre one of {', '.join(PRE_TOKENIZERS)}, "
        "or SentencePiece BPE (llama)",
        mend="give the tokenizer as a folder (source: folder)",
    )


def _vocabulary(fields: Mapping[str, Any]) -> dict[str, int]:
    """Return token -> id without filler tokens."""
    return {token: i for i, token in enumerate(fields["tokenizer.ggml.tokens"]) if token != f"[PAD{i}]"}


def _byte_level(path: Path, fields: Mapping[str, Any]) -> Tokenizer:
    """Build byte-level BPE with the pre-tokenizer that the file names."""
    pre = fields.get("tokenizer.ggml.pre") or _PRE_OF_ARCHITECTURE.get(fields.get("general.architecture", ""))
    if pre not in PRE_TOKENIZERS:
        raise _unsupported(path, f"tokenizer.ggml.pre = {pre!r}")
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    # Llama 3 uses a word that is itself a token directly, without merges.
    tokenizer = Tokenizer(models.BPE(_vocabulary(fields), merges, ignore_merges=pre == "llama-bpe"))
    split = PRE_TOKENIZERS[pre]
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split in ("words", "digits"))]
    if split == "digits":
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    elif split != "words":
        steps.insert(0, pre_tokenizers.Split(Regex(split), "isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    if pre in _NFC:
        tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _sentencepiece(path: Path, fields: Mapping[str, Any]) -> Tokenizer:
    """Build SentencePiece BPE; a merge ranks by the score of the resulting piece."""
    types, scores = fields["tokenizer.ggml.token_type"], fields.get("tokenizer.ggml.scores")
    if scores is None or "tokenizer.ggml.unknown_token_id" not in fields or TokenType.BYTE not in types:
        raise _unsupported(path, "a SentencePiece vocabulary without scores, unknown token or byte tokens")
    vocabulary = _vocabulary(fields)
    pieces = [text for text, i in vocabulary.items() if types[i] in (TokenType.NORMAL, TokenType.USER_DEFINED)]
    # Among equal scores (runs of spaces) the longest piece comes first, as in SentencePiece.
    order = sorted(pieces, key=lambda text: (-scores[vocabulary[text]], -len(text), text))
    rank = {text: i for i, text in enumerate(order)}
    merges = []
    for text in order:
        pairs = [(text[:i], text[i:]) for i in range(1, len(text))]
        known = [pair for pair in pairs if pair[0] in rank and pair[1] in rank]
        merges += sorted(known, key=lambda pair: (rank[pair[0]], rank[pair[1]]))
    unknown = fields["tokenizer.ggml.tokens"][fields["tokenizer.ggml.unknown_token_id"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    marks: list[Any] = [normalizers.Replace(" ", "▁")]
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if fields.get("tokenizer.ggml.add_space_prefix", True):
        marks.insert(0, normalizers.Prepend("▁"))
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = normalizers.Sequence(marks)
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def _add_template(tokenizer: Tokenizer, fields: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Add BOS and EOS to texts as the file says (by default as llama.cpp does)."""
    default = fields.get("tokenizer.ggml.pre") == "llama-bpe" or fields["tokenizer.ggml.model"] == "llama"
    bos = names.get("bos_token") if fields.get("tokenizer.ggml.add_bos_token", default) else None
    eos = names.get("eos_token") if fields.get("tokenizer.ggml.add_eos_token", False) else None
    if bos is None and eos is None:
        return
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[token for token in (bos, "$A", eos) if token],
        pair=[token for token in (bos, "$A", eos, f"{bos}:1" if bos else None, "$B:1", f"{eos}:1" if eos else None) if token],
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in dict.fromkeys((bos, eos)) if token],
    )


def _check_round_trip(path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Raise InputError unless decoding reproduces sample text."""
    for text in SAMPLES:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        if back != text:
            raise InputError(
                f"{path}: the converted tokenizer does not reproduce a text",
                found=repr(back),
                expected=repr(text),
                mend="give the tokenizer as a folder (source: folder)",
            )
