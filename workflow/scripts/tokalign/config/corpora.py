"""The blocks `corpora`: collections of text."""

from __future__ import annotations

from pydantic import Field

from tokalign.config.base import Block, Blocks, LeftOut
from tokalign.config.models import LICENSE
from tokalign.config.sources import HubName


class CorpusSource(Block):
    """Where text comes from; exactly one of files and hub."""

    files: LeftOut[list[str]] = Field(
        None,
        min_length=1,
        description=(
            "Paths or glob patterns of local files - .jsonl, .jsonl.gz, .jsonl.zst, .parquet, .txt (.gz, .zst; a document per "
            "paragraph)."
        ),
    )
    hub: LeftOut[HubName] = Field(None, description="Hugging Face data set, owner/name.")
    revision: LeftOut[str] = Field(None, description="Commit of the data set; required with hub.")
    subset: str | None = Field(None, description="Configuration of the data set (hub only).")
    split: str = Field("train", description="Split of the data set (hub only).")
    max_bytes: int | None = Field(
        None, ge=1000, description="Most UTF-8 bytes of text to fetch (hub only); null fetches the whole split. [bytes]"
    )
    text_field: str = Field("text", description="Name of the field or column that holds the text.")
    language: str = Field("und", description="Language code, for evaluation by language.")
    domain: str = Field("general", description="Kind of text, for evaluation by domain.")
    license: str = Field("unknown", description=LICENSE)
    weight: float | None = Field(
        None,
        gt=0,
        description=(
            "Share of the corpus's bytes relative to the other sources' weights; null for all sources takes each by its size."
        ),
    )


class CorpusSettings(Block):
    """How documents become a corpus."""

    byte_budget: int | None = Field(
        None,
        ge=1000,
        description=(
            "UTF-8 bytes of text to take in all, sampled over the sources by their weights; null takes all there is. [bytes]"
        ),
    )
    min_characters: int = Field(1, ge=1, description="Shorter documents are left out. [characters]")
    validation_fraction: float = Field(
        0.02, gt=0, le=0.5, description="Share of the documents that is held out, drawn over all sources by document hash."
    )
    shards: int = Field(8, ge=1, le=10000, description="Number of training shards; the unit of parallel work.")
    seed: int = Field(1, ge=0, description="Seed of the sampling and of the order of the documents.")


class Corpus(CorpusSettings):
    """One corpus, made of one or more sources."""

    sources: Blocks[CorpusSource] = Field(min_length=1, description="Named sources.")


class DatasetSettings(Block):
    """What is fetched of a data set of the hub for a corpus."""

    hub: HubName = Field(description="Hugging Face data set, owner/name.")
    revision: str = Field(description="Commit of the data set.")
    subset: str | None = Field(None, description="Configuration of the data set.")
    split: str = Field("train", description="Split of the data set.")
    max_bytes: int | None = Field(None, ge=1000, description="Most UTF-8 bytes of text; null fetches the whole split. [bytes]")
    text_field: str = Field("text", description="Name of the column that holds the text.")
    seed: int = Field(1, ge=0, description="Seed of the order of the documents.")
