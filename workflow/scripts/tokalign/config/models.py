"""The blocks `models`: causal language models whose tokenizer is to be replaced."""

from __future__ import annotations

from pydantic import Field

from tokalign.config.base import Block
from tokalign.config.sources import Source

LICENSE = "SPDX identifier of the license, recorded in manifests and model cards."


class RemoteCode(Block):
    """Whether code that comes with a model may run."""

    trust_remote_code: bool = Field(
        False, description="Run Python code that comes with the model. Leave off unless you have read that code."
    )


class ModelSettings(RemoteCode):
    """What is read to make a model loadable."""

    license: str = Field("unknown", description=LICENSE)
    source: Source = Field(description="Where it comes from.")


class Model(ModelSettings):
    """A causal language model."""

    tokenizer: str = Field(description="Name of the model's own tokenizer block.")
