"""Train a byte-level BPE tokenizer on a corpus."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tokalign.common.errors import ConfigurationError, InputError
from tokalign.common.progress import Progress
from tokalign.config.sources import BpeSettings
from tokalign.tokenizers.vocabulary import ROLES

log = logging.getLogger(__name__)

DIGITS = {"individual": r"\p{N}", "groups_of_3": r"\p{N}{1,3}", "unlimited": r"\p{N}+"}
"""Digits that a token may hold: setting -> regular expression."""

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+|%s"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""GPT-4's pattern (cl100k_base of https://github.com/openai/tiktoken) with marks (``\\p{M}``) counted as letters, so that
vowel signs do not cut the words of Indic scripts. ``%s`` is the pattern of numbers."""


def train_bpe(texts: Iterable[str], settings: BpeSettings, special_tokens: Mapping[str, str | None]) -> PreTrainedTokenizerFast:
    """Train byte-level BPE: all 256 bytes, no normalization, no prefix space.

    The result depends only on the texts' content, not on their order or the number of threads.

    Args:
        texts: documents to train on.
        settings: training settings.
        special_tokens: role -> token, or ``None`` for a role without a token. They get the first ids, in the order of
            ``vocabulary.ROLES``; two roles may share a token. ``eos`` is required.

    Raises:
        ConfigurationError: unknown roles, no EOS, or a vocabulary too small for bytes and special tokens.
        InputError: the texts have fewer different pairs than the vocabulary needs.
    """
    names = {role: special_tokens[role] for role in ROLES if special_tokens.get(role)}
    unknown = sorted(set(special_tokens) - set(ROLES))
    if unknown:
        raise ConfigurationError("special_tokens: unknown roles", found=", ".join(unknown), expected=", ".join(ROLES))
    if "eos" not in names:
        raise ConfigurationError("special_tokens: eos is needed", mend='set for example eos: "<|endoftext|>"')
    specials = list(dict.fromkeys(names.values()))
    least = 256 + len(specials)
    if settings.vocabulary_size < least:
        raise ConfigurationError(
            "train: vocabulary_size is too small for the bytes and special tokens",
            found=settings.vocabulary_size,
            expected=f"at least {least}",
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS % DIGITS[settings.digits]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size,
        min_frequency=settings.min_frequency,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in specials],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < settings.vocabulary_size:
        raise InputError(
            "train: the corpus is too small for this vocabulary",
            found=f"{tokenizer.get_vocab_size()} tokens that occur at least {settings.min_frequency} times",
            expected=f"vocabulary_size = {settings.vocabulary_size}",
            mend="give more text (a larger max_bytes), or lower vocabulary_size or min_frequency",
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{f"{role}_token": name for role, name in names.items()})


def read_texts(shards: Iterable[Path], max_bytes: int | None) -> Iterator[str]:
    """Yield documents of Parquet shards, or a sample, one row group at a time.

    A sample takes documents in the order of a hash of their text until the next one would exceed the limit. So it is drawn
    evenly from all shards and does not depend on the order of the documents.

    Args:
        shards: Parquet files with a column ``text``; they are read in the order of their names.
        max_bytes: upper limit for the UTF-8 bytes of all texts together; ``None`` reads everything.

    Raises:
        InputError: no shards, or a shard without the column.
    """
    shards = sorted(shards)
    if not shards:
        raise InputError("train: no shards of text", expected="train-*.parquet", mend="check --text")
    for shard in shards:
        if "text" not in pq.read_schema(shard).names:
            raise InputError(f"{shard}: no column text", found=", ".join(pq.read_schema(shard).names))
    limit = None if max_bytes is None else _first_hash_beyond(shards, max_bytes)
    progress = Progress("text read", max_bytes if limit is not None else None, "B")
    for text in _texts(shards):
        data = text.encode()
        if limit is None or _hash(data) < limit:
            progress.advance(len(data))
            yield text
    progress.close()


def _first_hash_beyond(shards: Iterable[Path], max_bytes: int) -> int | None:
    """Return the first hash, in order, at which texts exceed ``max_bytes``; ``None`` if all fit."""
    sizes = [(len(data), _hash(data)) for data in map(str.encode, _texts(shards))]
    lengths, hashes = np.array(sizes, dtype=np.uint64).reshape(-1, 2).T
    order = np.argsort(hashes, kind="stable")
    last = int(np.searchsorted(np.cumsum(lengths[order]), max_bytes, side="right"))
    return int(hashes[order[last]]) if last < len(order) else None


def _texts(shards: Iterable[Path]) -> Iterator[str]:
    """Yield all documents, one row group in memory at a time."""
    for shard in shards:
        with pq.ParquetFile(shard) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, columns=["text"]).column("text").to_pylist()


def _hash(data: bytes) -> int:
    """Hash a text to 64 bits, independently of the hashes that split corpora."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, person=b"train_bpe").digest())
