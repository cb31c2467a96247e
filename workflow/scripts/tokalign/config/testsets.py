"""The blocks `testsets`: data with right answers or prompts, which evaluations measure models on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tokalign.config.base import Block, LeftOut
from tokalign.config.models import LICENSE

Columns = str | Annotated[list[str], Field(min_length=2)]


class TestsetSettings(Block):
    """What a test set is made of, wherever it comes from."""

    __test__ = False  # not a class of tests, though pytest takes its name for one

    kind: Literal["parallel", "choices", "prompts"] = Field(
        description=(
            "parallel (the same segments in several languages), choices (questions with right answers) or prompts (beginnings of "
            "text)."
        )
    )
    fields: dict[str, Columns] = Field(
        description=(
            "Which field holds what; a dot goes into a field (translation.es). parallel: a field for each language. choices: "
            "question, choices (a field that holds a list, or a list of fields), answer, and context where there is one. prompts: "
            "text. A field id names the items, where all have one and no two the same."
        )
    )
    answers: Literal["number0", "number1", "letter", "text"] = Field(
        "number0",
        description="How the answer is written - number counted from 0 or 1, letter from A on, or the text of the choice.",
    )
    language: str = Field("en", description="Language code of choices and prompts.")
    domain: str = Field("general", description="Kind of text.")
    min_characters: int = Field(1, ge=1, description="Prompts that are shorter are left out and counted. [characters]")
    max_characters: int | None = Field(
        None, ge=1, description="Prompts that are longer are left out and counted; null keeps them. [characters]"
    )
    limit: int | None = Field(
        None,
        ge=1,
        description=(
            "Most items, the first ones in the order of the files; of a hub data set, as many are fetched; null takes all. [items]"
        ),
    )
    license: str = Field("unknown", description=LICENSE)


class Testset(TestsetSettings):
    """Items of one data set, from local files or the hub."""

    files: LeftOut[list[str]] = Field(
        None,
        min_length=1,
        description=(
            "JSONL (perhaps .gz or .zst) or Parquet files, paths or glob patterns, read in the order of their names. Line-aligned "
            "text is given by text_files instead, a hub data set by hub."
        ),
    )
    text_files: LeftOut[dict[str, str]] = Field(
        None,
        min_length=2,
        description=(
            "Of a parallel set, the path of a plain text file (perhaps .gz or .zst) for each language, one segment on a line; "
            "fields then names each language by itself."
        ),
    )
    hub: LeftOut[str] = Field(None, description="Data set on the Hugging Face hub, owner/name.")
    revision: LeftOut[str] = Field(None, description="Commit of the hub data set.")
    subset: str | None = Field(None, description="Subset (configuration) of the hub data set.")
    split: str = Field("test", description="Split of the hub data set.")


class TestsetSource(Block):
    """What is fetched of a data set of the hub for a test set."""

    __test__ = False

    hub: str = Field(description="Data set on the Hugging Face hub, owner/name.")
    revision: str = Field(description="Commit of the data set.")
    subset: str | None = Field(None, description="Subset (configuration) of the data set.")
    split: str = Field("test", description="Split of the data set.")
    limit: int | None = Field(None, ge=1, description="Most rows; null takes all. [rows]")
