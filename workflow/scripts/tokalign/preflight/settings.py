"""What the preflight is told: what will be fetched, written and trained, and what the profile says of the site."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tokalign.config.base import Block, LeftOut
from tokalign.config.recipes import Stage
from tokalign.config.sources import Source


class NetworkSource(Block):
    """Something that a fetch rule brings."""

    path: str = Field(description="Where it will be.")
    kind: Literal["wheel", "model", "dataset"] = Field(description="What it is.")
    name: str = Field(description="Requirement of the wheel, or repository of the hub.")
    revision: LeftOut[str] = Field(None, description="Commit, tag or branch of the repository.")


class PlannedModel(Block):
    """A model whose size matters."""

    source: Source = Field(description="Where it comes from.")
    info: str = Field(description="Path of its info.json, which may not be there yet.")


class PlannedTokenizer(Block):
    """A tokenizer whose size matters."""

    source: Source = Field(description="Where it comes from.")
    rows: int | None = Field(None, ge=0, description="Number of ids, where the workflow knows it. [tokens]")


class PlannedFile(Block):
    """A file or folder that will be written: its bytes, or what its size follows from."""

    path: str = Field(description="Where it will be.")
    bytes: LeftOut[int] = Field(None, ge=0, description="Its size. [bytes]")
    model: LeftOut[str] = Field(None, description="Model that it holds.")
    tokenizer: str | None = Field(None, description="Tokenizer of that model; null for its own.")
    stage: LeftOut[Stage] = Field(None, description="Stage whose saved states it holds.")
    block: LeftOut[int] = Field(None, ge=1, description="Length of a training sequence. [tokens]")


class PlannedTraining(Block):
    """A stage of an experiment."""

    path: str = Field(description="Where its checkpoint will be.")
    labels: dict[str, str] = Field(description="Experiment, model, tokenizer, recipe, seed, stage.")
    stage: Stage = Field(description="The stage.")
    block: int = Field(ge=1, description="Length of a training sequence. [tokens]")


class Site(Block):
    """Where the jobs run."""

    slurm: bool = Field(description="Whether the profile submits to Slurm.")
    partitions: dict[str, int] = Field({}, description="Most GPUs of a job by partition of the profile's file.")
    account: str | None = Field(None, description="Account that jobs are charged to.")
    gpu: str | None = Field(None, description="Model of the GPU that trainings ask for.")
    training_mb: int | None = Field(None, ge=1, description="Main memory that the profile states for trainings. [MB]")
    local: list[str] = Field([], description="Rules that run where Snakemake runs.")
    unknown_rules: list[str] = Field([], description="Rules that the profile names and the workflow does not have.")
    rules: list[str] = Field([], description="Rules of the workflow.")


class PreflightSettings(Block):
    """What will be fetched, written and trained, and where."""

    dry_run: list[str] = Field(min_length=1, description="Command that plans the run.")
    start: str = Field(description="Folder where it is started.")
    sources: list[NetworkSource] = Field([], description="What is fetched.")
    models: dict[str, PlannedModel] = Field({}, description="Models by name.")
    tokenizers: dict[str, PlannedTokenizer] = Field({}, description="Tokenizers by name.")
    files: list[PlannedFile] = Field([], description="What is written, the larger things only.")
    trainings: list[PlannedTraining] = Field([], description="What is trained.")
    site: Site = Field(description="Where the jobs run.")
