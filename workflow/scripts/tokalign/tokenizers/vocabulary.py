"""Canonical bytes and roles: what a token stands for, however its tokenizer spells it.

``Ġthe`` of a byte-level tokenizer and ``▁the`` of a SentencePiece tokenizer are both the bytes ``b" the"``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from tokalign.common.errors import ArtifactError, InputError
from tokalign.common.files import atomic_file

log = logging.getLogger(__name__)

ROLES = ("bos", "eos", "pad", "unk", "sep", "cls", "mask")
CHAT_MARKERS = {
    "<|im_start|>": "turn_start",
    "<|start_header_id|>": "turn_start",
    "<start_of_turn>": "turn_start",
    "<|im_end|>": "turn_end",
    "<|eot_id|>": "turn_end",
    "<end_of_turn>": "turn_end",
}
"""Special tokens of chat templates that tokenizers do not name by role (ChatML, Llama 3, Gemma)."""

ORDINARY = ("text", "byte")
"""Kinds of tokens that stand for bytes of a text; among tokens of equal bytes the first kind takes precedence."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int32(), nullable=False),
        pa.field("token", pa.string(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("roles", pa.list_(pa.string()), nullable=False),
    ]
)
BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
PLAIN_SAMPLE = "The year 2024 had 366 days."
SAMPLES = (" two  spaces\n\tand a tab\n", "Größe, niño, река, भारत", "人工智能。日本語", "🙂 x = y[1:]")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a tokenizer by id; the lists have ``size`` entries.

    Attributes:
        tokens: the tokenizer's spelling; empty for an id without a token.
        token_bytes: canonical bytes: what the token adds to the UTF-8 of a text. For a special token, its name in UTF-8.
        kinds: ``text``; ``byte`` (``<0xNN>``, a fallback for one byte); ``special``; ``unused`` (an id without a token, or
            a spelling that no text is encoded to). If a ``byte`` and a ``text`` token are the same byte, the ``text`` token
            is the better match for a token of another vocabulary: the tokenizer rarely emits the fallback.
        roles: role -> id. A token may have several roles.
    """

    tokens: list[str]
    token_bytes: list[bytes]
    kinds: list[str]
    roles: dict[str, int]

    @property
    def size(self) -> int:
        """Number of ids: the largest id plus one. An embedding may have more rows."""
        return len(self.tokens)

    @cached_property
    def ordinary(self) -> NDArray[np.bool_]:
        """Whether each token stands for bytes of a text, shape (size,)."""
        return np.array([kind in ORDINARY for kind in self.kinds], dtype=bool)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Number of canonical bytes of each token, shape (size,)."""
        return np.array([len(data) for data in self.token_bytes], dtype=np.int64)


@cache
def byte_alphabet() -> dict[str, int]:
    """Return GPT-2's byte alphabet: character -> byte.

    Printable Latin-1 characters stand for themselves; U+0100, U+0101, ... stand for the other bytes in order
    (`bytes_to_unicode` in https://github.com/openai/gpt-2, src/encoder.py).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


@dataclass(frozen=True)
class _Spelling:
    """How the model of a tokenizer spells bytes."""

    byte_level: bool
    space: str | None
    byte_fallback: bool

    def read(self, token: str) -> tuple[bytes, str]:
        """Return canonical bytes and kind of an ordinary token."""
        if self.byte_level:
            alphabet = byte_alphabet()
            if all(character in alphabet for character in token):
                return bytes(alphabet[character] for character in token), "text"
            return token.encode(), "unused"
        match = BYTE_TOKEN.fullmatch(token) if self.byte_fallback else None
        if match:
            return bytes([int(match[1], 16)]), "byte"
        return (token.replace(self.space, " ") if self.space else token).encode(), "text"


def _steps(part: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a normalizer, pre-tokenizer or decoder, including those in sequences."""
    if part is None:
        return
    if part["type"] == "Sequence":
        for key in ("normalizers", "pretokenizers", "decoders"):
            for inner in part.get(key, ()):
                yield from _steps(inner)
    else:
        yield part


def _spelling(spec: Mapping[str, Any], where: str) -> _Spelling:
    """Determine from a tokenizer.json how its tokens spell bytes.

    Raises:
        InputError: WordPiece, word ends (``</w>``) or something else that has no canonical bytes.
    """
    model = spec["model"]
    decoder, normalizer, pre_tokenizer = (list(_steps(spec[key])) for key in ("decoder", "normalizer", "pre_tokenizer"))
    types = {step["type"] for step in (*decoder, *normalizer, *pre_tokenizer)}
    marked = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if model["type"] not in ("BPE", "Unigram") or marked:
        raise InputError(
            f"{where}: the bytes of its tokens are not defined",
            found=f"a {model['type']} model" + (f" that marks parts of words with {marked!r}" if marked else ""),
            expected="byte-level BPE, or BPE or Unigram in the manner of SentencePiece",
            mend="use a tokenizer of a causal language model",
        )
    if "ByteLevel" in types:
        return _Spelling(byte_level=True, space=None, byte_fallback=False)
    fallback = bool(model.get("byte_fallback")) or "ByteFallback" in types
    for step in (*pre_tokenizer, *decoder):
        if step["type"] == "Metaspace":
            return _Spelling(byte_level=False, space=step["replacement"], byte_fallback=fallback)
    for step in normalizer:
        if step["type"] == "Replace" and step["pattern"].get("String") == " ":
            return _Spelling(byte_level=False, space=step["content"], byte_fallback=fallback)
    for step in decoder:
        if step["type"] == "Replace" and step["content"] == " ":
            return _Spelling(byte_level=False, space=step["pattern"].get("String"), byte_fallback=fallback)
    raise InputError(
        f"{where}: how it spells spaces and bytes is not known",
        found=f"steps {', '.join(sorted(types)) or 'none'}",
        expected="a ByteLevel step, a Metaspace step, or one that replaces spaces by ▁",
        mend="use a byte-level or SentencePiece tokenizer",
    )


def describe(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """Read the canonical bytes, kinds and roles of a fast tokenizer.

    Raises:
        InputError: no fast tokenizer, or one whose tokens have no defined bytes (WordPiece).
    """
    where = f"tokenizer {tokenizer.name_or_path or type(tokenizer).__name__}"
    if not tokenizer.is_fast:
        raise InputError(
            f"{where}: not a fast tokenizer",
            found=type(tokenizer).__name__,
            expected="a folder with a tokenizer.json",
            mend="convert it: AutoTokenizer.from_pretrained(...).save_pretrained(folder) where its converter is installed",
        )
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spelling = _spelling(spec, where)
    added = {entry["id"]: entry for entry in spec["added_tokens"]}
    ordinary = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    size = max([*ordinary.values(), *added]) + 1
    tokens, token_bytes, kinds = [""] * size, [b""] * size, ["unused"] * size
    for token, i in ordinary.items():
        tokens[i] = token
        token_bytes[i], kinds[i] = spelling.read(token)
    for i, entry in added.items():
        text = tokens[i] = entry["content"]
        if entry["special"]:
            token_bytes[i], kinds[i] = text.encode(), "special"
        elif spelling.byte_level:
            token_bytes[i], kinds[i] = text.encode(), "text"
        else:
            # Gemma lists runs of ▁ as added tokens; they stand for spaces like any other piece.
            token_bytes[i], kinds[i] = spelling.read(text)
    return Vocabulary(tokens, token_bytes, kinds, _roles(tokenizer, tokens, kinds))


def _roles(tokenizer: PreTrainedTokenizerBase, tokens: list[str], kinds: list[str]) -> dict[str, int]:
    """Return role -> id from the tokenizer and from the markers of chat turns."""
    roles = {}
    for role in ROLES:
        i = getattr(tokenizer, f"{role}_token_id")
        if i is not None:
            roles[role] = int(i)
    ids = {token: i for i, token in enumerate(tokens) if kinds[i] == "special"}
    for marker, role in CHAT_MARKERS.items():
        if marker in ids:
            roles.setdefault(role, ids[marker])
    return roles


def write_vocabulary(vocabulary: Vocabulary, path: str | Path) -> None:
    """Write a vocabulary as parquet (docs/architecture.md), one row per id."""
    names: list[list[str]] = [[] for _ in range(vocabulary.size)]
    for role, i in sorted(vocabulary.roles.items()):
        names[i].append(role)
    columns = [range(vocabulary.size), vocabulary.tokens, vocabulary.token_bytes, vocabulary.kinds, names]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    with atomic_file(path) as partial:
        pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), partial, compression="zstd")


def read_vocabulary(path: str | Path) -> Vocabulary:
    """Read what `write_vocabulary` wrote.

    Raises:
        ArtifactError: missing, damaged, of another schema, or its ids are not 0, 1, ...
    """
    mend = "delete it and run resolve_tokenizer again"
    try:
        table = pq.read_table(path)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"{path}: no readable vocabulary", found=error, mend=mend) from error
    if table.schema.names != SCHEMA.names or table.schema.types != SCHEMA.types:
        raise ArtifactError(f"{path}: other columns", found=table.schema.names, expected=str(SCHEMA.names), mend=mend)
    columns = table.to_pydict()
    if columns["id"] != list(range(len(table))):
        raise ArtifactError(f"{path}: ids are not 0, 1, ... in order", mend=mend)
    roles = {role: i for i, names in enumerate(columns["roles"]) for role in names}
    return Vocabulary(columns["token"], columns["bytes"], columns["kind"], roles)


def check_usable(tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary, where: str) -> None:
    """Check that a tokenizer has an EOS token and reproduces text.

    Changes to text beyond plain English (normalization, characters outside the vocabulary) are only logged.

    Args:
        tokenizer: a fast tokenizer.
        vocabulary: its description.
        where: name of the tokenizer in messages.

    Raises:
        InputError: no EOS, ids outside the vocabulary, or plain English is not reproduced.
    """
    if "eos" not in vocabulary.roles:
        raise InputError(
            f"{where}: no end-of-text token",
            found=f"roles {', '.join(vocabulary.roles) or 'none'}",
            expected="a token with the role eos",
            mend='set `special_tokens: {eos: "..."}` in the tokenizer block, to a token of its vocabulary',
        )
    for sample in (PLAIN_SAMPLE, *SAMPLES):
        ids = tokenizer(sample, add_special_tokens=False)["input_ids"]
        outside = [i for i in ids if not 0 <= i < vocabulary.size]
        if outside or not ids:
            raise InputError(f"{where}: cannot encode {sample!r}", found=f"ids {ids}", expected=f"ids below {vocabulary.size}")
        back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        if sample == PLAIN_SAMPLE and back.strip().casefold() != sample.casefold():
            raise InputError(
                f"{where}: does not reproduce a text", found=repr(back), expected=repr(sample), mend="use another tokenizer"
            )
        if back != sample:
            log.warning("%s: %r comes back as %r", where, sample, back)


def read_rows(path: str | Path, columns: Sequence[str]) -> pa.Table:
    """Read columns of a Parquet file with one row per id 0, 1, ...

    Raises:
        ArtifactError: the file is missing or damaged, a column is missing, or the ids are wrong.
    """
    try:
        table = pq.read_table(path, columns=list(columns)).combine_chunks()
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file", mend="run the step that makes it") from error
    except pa.ArrowInvalid as error:
        raise ArtifactError(f"{path}: not a readable Parquet file", found=error, mend="make it again") from error
    missing = sorted(set(columns) - set(table.column_names))
    if missing or not np.array_equal(table["id"].to_numpy(), np.arange(table.num_rows)):
        raise ArtifactError(
            f"{path}: not one row per id",
            found=f"{table.num_rows} rows with columns {table.column_names}",
            expected=f"{', '.join(columns)}; ids 0, 1, ... in order",
            mend="make it again",
        )
    return table


def printable(data: bytes) -> str:
    r"""Return a token's bytes as readable text; escape what is invalid or invisible.

    Spaces stay; a newline is ``\n``, a backslash ``\\``, a byte that is not UTF-8 ``\xff``.
    """
    text = data.replace(b"\\", b"\\\\").decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def read_texts(path: str | Path) -> list[str]:
    """Return the printable text of each token of ``vocabulary.parquet``; special tokens keep their spelling."""
    table = read_rows(path, ("id", "token", "bytes", "kind"))
    rows = zip(*(table[name].to_pylist() for name in ("token", "bytes", "kind")), strict=True)
    return [token if kind in ("special", "unused") or data is None else printable(data) for token, data, kind in rows]
