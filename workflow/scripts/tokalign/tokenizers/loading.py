"""Load tokenizers, and encode text with their backends."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tokalign.common.errors import ArtifactError, InputError


def load_tokenizer(folder: str | Path, trust_remote_code: bool = False) -> PreTrainedTokenizerFast:
    """Load the fast tokenizer of a resolved tokenizer or checkpoint folder.

    Raises:
        ArtifactError: the folder holds no tokenizer that can be loaded.
        InputError: it has no fast (Rust) implementation.
    """
    from transformers import AutoTokenizer  # the import takes longer than a small shard

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{folder}: no tokenizer that can be loaded",
            found=str(error).splitlines()[0],
            mend="give the folder of its tokenizer",
        ) from error
    if not tokenizer.is_fast:
        raise InputError(
            f"{folder}: the tokenizer has no fast implementation", found=type(tokenizer).__name__, expected="a tokenizer.json"
        )
    return tokenizer


def load_backend(folder: Path) -> Tokenizer:
    """Load the tokenizer.json of a resolved tokenizer folder.

    Resolving has checked that this file is the whole tokenizer.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file", expected="a resolved tokenizer", mend="resolve the tokenizer again")
    try:
        return Tokenizer.from_buffer(path.read_bytes())
    except ValueError as error:
        raise ArtifactError(f"{path}: not a readable tokenizer", found=error, mend="delete it and run again") from error


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Return the token ids of texts, without special tokens and without truncation."""
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
