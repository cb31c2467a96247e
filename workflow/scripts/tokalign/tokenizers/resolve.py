"""Convert a tokenizer from any source to the form that all later steps read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tokalign.common.errors import ConfigurationError, InputError
from tokalign.common.files import atomic_directory, sha256_file, write_json
from tokalign.fetch.sources import Located
from tokalign.tokenizers.gguf import SAMPLES, read_gguf_tokenizer
from tokalign.tokenizers.loading import encode
from tokalign.tokenizers.vocabulary import ROLES, Vocabulary, check_usable, describe, write_vocabulary

log = logging.getLogger(__name__)

NO_LIMIT = 10**12
"""Greater lengths mean no limit; transformers writes 1e30."""


def read_source_tokenizer(located: Located, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """Load the user's tokenizer from a folder or a GGUF file, without network.

    If the class that transformers chooses differs from the folder's tokenizer.json (as for some model types),
    tokenizer.json is used.

    Raises:
        InputError: the folder holds no tokenizer that can be loaded.
    """
    if located.kind == "gguf":
        return read_gguf_tokenizer(located.path)
    folder = located.path
    file = folder / "tokenizer.json"
    if file.is_file() and not (folder / "tokenizer_config.json").is_file():
        return PreTrainedTokenizerFast(tokenizer_file=str(file), name_or_path=str(folder))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(
            f"{folder}: no tokenizer can be loaded from here",
            found=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            expected="tokenizer.json and tokenizer_config.json",
            mend="save it with AutoTokenizer(...).save_pretrained(folder), or set trust_remote_code if you trust its code",
        ) from error
    if file.is_file():
        raw = Tokenizer.from_file(str(file))
        for text in SAMPLES:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if ids != raw.encode(text, add_special_tokens=False).ids:
                log.warning("%s: %s does not follow tokenizer.json; tokenizer.json is used", folder, type(tokenizer).__name__)
                return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return tokenizer


def set_special_tokens(tokenizer: PreTrainedTokenizerBase, special_tokens: Mapping[str, str | None], where: str) -> None:
    """Give tokens of the vocabulary a role; ``None`` leaves a role as it is.

    Raises:
        ConfigurationError: an unknown role, or a token that is not in the vocabulary (it would have no embedding).
    """
    vocabulary = tokenizer.get_vocab()
    for role, token in special_tokens.items():
        if role not in ROLES:
            raise ConfigurationError(f"{where}: special_tokens: unknown role", found=role, expected=f"one of {', '.join(ROLES)}")
        if token is None:
            continue
        if token not in vocabulary:
            raise ConfigurationError(
                f"{where}: special_tokens: {role}: not a token of this tokenizer",
                found=repr(token),
                expected="a token of its vocabulary, such as "
                + ", ".join(sorted(tokenizer.added_tokens_encoder, key=vocabulary.get)[:8]),
                mend="choose one of these",
            )
        tokenizer.add_special_tokens({f"{role}_token": token})


def save_tokenizer(
    tokenizer: PreTrainedTokenizerBase, source: Any, where: str, hf: Path, vocabulary_path: Path, info_path: Path
) -> Vocabulary:
    """Check a tokenizer and write its folder, its vocabulary and its info.json.

    Args:
        tokenizer: a fast tokenizer.
        source: what to record about its origin; a JSON value.
        where: name of the tokenizer in messages.
        hf: folder for ``AutoTokenizer.from_pretrained``.
        vocabulary_path: parquet file (`vocabulary.write_vocabulary`).
        info_path: JSON with size, roles, sha256 of tokenizer.json, model_max_length (tokens, or null), source.

    Raises:
        InputError: the tokenizer is not usable (`vocabulary.check_usable`) or changes when saved and loaded.
    """
    vocabulary = describe(tokenizer)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    check_usable(tokenizer, vocabulary, where)
    with atomic_directory(hf) as folder:
        tokenizer.save_pretrained(folder)
        again = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        same = all(again(text)["input_ids"] == tokenizer(text)["input_ids"] for text in SAMPLES)
        raw = Tokenizer.from_file(str(folder / "tokenizer.json"))  # corpora are tokenized with this one
        same &= all(raw.encode(text, add_special_tokens=False).ids == encode(again, [text])[0] for text in SAMPLES)
        if not same or describe(again) != vocabulary:
            raise InputError(
                f"{where}: the tokenizer changes when it is saved and loaded again",
                found=f"class {type(tokenizer).__name__}, loaded as {type(again).__name__}",
                mend='give a folder whose tokenizer_config.json says "tokenizer_class": "PreTrainedTokenizerFast"',
            )
        digest = sha256_file(folder / "tokenizer.json")
    write_vocabulary(vocabulary, vocabulary_path)
    longest = tokenizer.model_max_length
    write_json(
        info_path,
        {
            "size": vocabulary.size,
            "roles": vocabulary.roles,
            "sha256": digest,
            "model_max_length": None if longest is None or longest > NO_LIMIT else int(longest),
            "source": source,
        },
    )
    log.info("%s: %d tokens, roles %s", where, vocabulary.size, vocabulary.roles)
    return vocabulary
