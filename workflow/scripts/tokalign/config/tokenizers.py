"""The blocks `tokenizers`: those of the models and those to be given to them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tokalign.config.base import Block
from tokalign.config.models import LICENSE
from tokalign.config.sources import Role, Source, TokenizerTraining

SpecialTokens = dict[Role, Annotated[str, Field(min_length=1)]]


def special_tokens() -> Any:
    """Return the field for the roles of special tokens."""
    return Field(
        {},
        description=(
            'Roles to set or override, such as {eos "<|endoftext|>"}; the token must exist, or is added when the tokenizer is '
            "trained."
        ),
    )


class ResolvedSettings(Block):
    """What is read to bring a tokenizer into the form that all steps read."""

    source: Source = Field(description="Where it comes from.")
    special_tokens: SpecialTokens = special_tokens()
    trust_remote_code: bool = Field(False, description="Run Python code that comes with the tokenizer.")


class TokenizerBlock(ResolvedSettings):
    """A tokenizer."""

    license: str = Field("unknown", description=LICENSE)


class TrainedSettings(TokenizerTraining):
    """What is read to train a tokenizer."""

    special_tokens: SpecialTokens = special_tokens()
