"""Sides of an alignment: small tokenizers, handwritten tokens, random vectors."""

from __future__ import annotations

import numpy as np
import pytest
from tokalign.alignment.align import Rows, Side
from tokalign.tokenizers.vocabulary import Vocabulary, describe
from tokalign.vectors.vectors import Vectors
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from support.project import byte_level

TEXTS = ["the cat and the dog read the text", "größer 日本語 日本 the end", "ein Text und noch ein Text"] * 4


def sentencepiece(byte_fallback: bool = True) -> PreTrainedTokenizerFast:
    """Return a BPE as SentencePiece makes it, with a space before every text."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256) if byte_fallback)]
    pieces += ["▁", "t", "h", "e", "x", "th", "the", "▁the", "日", "xt"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("x", "t")]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=byte_fallback))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in pieces[:3]])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def side(tokenizer: PreTrainedTokenizerFast) -> Side:
    return Side(describe(tokenizer), tokenizer)


BYTES, PIECES, SMALL = side(byte_level(330, TEXTS)), side(sentencepiece()), side(byte_level(270, TEXTS[:1]))


def by_hand(*tokens: tuple[str, str], roles: dict[str, int] | None = None, vectors: Vectors | None = None) -> Side:
    """Return a side from pairs of (token, kind); bytes are the token's characters in UTF-8."""
    names = [token for token, _ in tokens]
    return Side(Vocabulary(names, [n.encode() for n in names], [kind for _, kind in tokens], roles or {}), None, vectors)


def every(one: Side) -> np.ndarray:
    return np.arange(one.vocabulary.size)


def as_dict(rows: Rows) -> dict[int, dict[int, float]]:
    """Return target id -> source id -> weight, after checking the invariants of all methods' rows."""
    assert rows.indptr[0] == 0
    assert rows.indptr[-1] == len(rows.sources) == len(rows.weights)
    assert len(rows.indptr) == len(rows.ids) + 1 == len(rows.scores) + 1
    assert (rows.weights.dtype, rows.scores.dtype) == (np.float32, np.float32)
    found: dict[int, dict[int, float]] = {}
    for n, i in enumerate(rows.ids.tolist()):
        assert i not in found
        found[i] = {}
        for entry in range(rows.indptr[n], rows.indptr[n + 1]):
            source = int(rows.sources[entry])
            found[i][source] = found[i].get(source, 0.0) + float(rows.weights[entry])
        assert sum(found[i].values()) == pytest.approx(1, abs=1e-6)
    return found


def with_vectors(one: Side, seed: int, leave_out: tuple[int, ...] = (), dimensions: int = 6) -> Side:
    """Return a side with random vectors for most of its tokens, in random order, one of them zero."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation([i for i in range(one.vocabulary.size) if i not in leave_out]).astype(np.int32)
    vectors = rng.normal(size=(len(ids), dimensions)).astype(np.float32)
    counts = rng.integers(1, 1000, len(ids))
    return Side(one.vocabulary, one.tokenizer, Vectors(vectors, ids, counts, {"vocabulary_size": one.vocabulary.size}))


def letters(text: str) -> Side:
    return by_hand(("<eos>", "special"), *((letter, "text") for letter in text), roles={"eos": 0})


def rng_rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def spelled(tokens: str, vectors: np.ndarray, special: str = "") -> Side:
    kinds = ["special" if token in special else "text" for token in tokens]
    ids = np.arange(len(tokens), dtype=np.int32)
    metadata = {"vocabulary_size": len(tokens)}
    vocabulary = Vocabulary(list(tokens), [token.encode() for token in tokens], kinds, {})
    return Side(vocabulary, None, Vectors(vectors, ids, np.arange(len(tokens), dtype=np.int64) + 1, metadata))
