"""Settings of the preflight: what will be fetched, written and trained, and the profile's description of the site."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tokalign.config.base import Block, LeftOut
from tokalign.config.recipes import Stage
from tokalign.config.sources import Source


class NetworkSource(Block):
    """Something that a fetch rule downloads."""

    path: str = Field(description="Path of the result.")
    kind: Literal["wheel", "model", "dataset"] = Field(description="What it is.")
    name: str = Field(description="Requirement of the wheel, or repository of the hub.")
    revision: LeftOut[str] = Field(None, description="Commit, tag or branch of the repository.")


class PlannedModel(Block):
    """A model whose size matters."""

    source: Source = Field(description="Source of the model.")
    info: str = Field(description="Path of its info.json, which may not exist yet.")


class PlannedTokenizer(Block):
    """A tokenizer whose size matters."""

    source: Source = Field(description="Source of the tokenizer.")
    rows: int | None = Field(None, ge=0, description="Number of ids, if the workflow knows it. [tokens]")


class PlannedFile(Block):
    """A file or folder that will be written: its bytes, or what determines its size."""

    path: str = Field(description="Path of the file or folder.")
    bytes: LeftOut[int] = Field(None, ge=0, description="Its size. [bytes]")
    model: LeftOut[str] = Field(None, description="Model it holds.")
    tokenizer: str | None = Field(None, description="Tokenizer of that model; null for its own.")
    stage: LeftOut[Stage] = Field(None, description="Stage whose saved states it holds.")
    block: LeftOut[int] = Field(None, ge=1, description="Length of a training sequence. [tokens]")


class PlannedTraining(Block):
    """A stage of an experiment."""

    path: str = Field(description="Path of its checkpoint.")
    labels: dict[str, str] = Field(description="Experiment, model, tokenizer, recipe, seed, stage.")
    stage: Stage = Field(description="The stage.")
    block: int = Field(ge=1, description="Length of a training sequence. [tokens]")


class Site(Block):
    """Where the jobs run."""

    slurm: bool = Field(description="Whether the profile submits to Slurm.")
    partitions: dict[str, int] = Field({}, description="Most GPUs per job, by partition in the profile's file.")
    account: str | None = Field(None, description="Account to charge.")
    gpu: str | None = Field(None, description="GPU model that trainings request.")
    training_mb: int | None = Field(None, ge=1, description="Main memory of trainings in the profile. [MB]")
    local: list[str] = Field([], description="Rules that run on the machine of Snakemake.")
    unknown_rules: list[str] = Field([], description="Rules in the profile that the workflow does not have.")
    rules: list[str] = Field([], description="Rules of the workflow.")


class PreflightSettings(Block):
    """What will be fetched, written and trained, and where."""

    dry_run: list[str] = Field(min_length=1, description="Command that plans the run.")
    start: str = Field(description="Folder in which it is started.")
    sources: list[NetworkSource] = Field([], description="What is fetched.")
    models: dict[str, PlannedModel] = Field({}, description="Models by name.")
    tokenizers: dict[str, PlannedTokenizer] = Field({}, description="Tokenizers by name.")
    files: list[PlannedFile] = Field([], description="Larger files and folders to write.")
    trainings: list[PlannedTraining] = Field([], description="What is trained.")
    site: Site = Field(description="Where the jobs run.")
