"""The blocks `vectors`: how token vectors are learned from text, or where they are."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tokalign.config.base import Block, Blocks, LeftOut, broken, filled


class ImportedVectors(Block):
    """Vectors that were trained elsewhere, on ids of the same tokenizers."""

    files: Blocks[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1,
        description="Path of a local file for each tokenizer's name, in GloVe's text format - a line `id v1 ... vn` per token.",
    )


class FastTextSettings(Block):
    """Training of skip-gram vectors with fastText."""

    dimensions: int = Field(300, ge=2, le=4096, description="Length of a vector.")
    learning_rate: float = Field(0.05, gt=0, description="Learning rate at the start; it falls linearly to 0.")
    epochs: int = Field(5, ge=1, description="Passes over the text.")
    window: int = Field(
        5, ge=1, le=100, description="Largest distance of a context; each place draws its own from 1 to this. [tokens]"
    )
    negatives: int = Field(5, ge=1, description="Negative samples for each context.")
    min_count: int = Field(5, ge=1, description="Rarer tokens get no vector.")
    min_ngram: int = Field(
        0, ge=0, le=8, description="Digits of the shortest n-gram of an id that has its own vector. [characters]"
    )
    max_ngram: int = Field(
        0, ge=0, le=8, description="Digits of the longest; 0 is none, since the digits of an id mean nothing. [characters]"
    )
    sampling_threshold: float = Field(0.0001, gt=0, description="Share of the text above which a token is left out at random.")
    seed: int = Field(1, ge=0, le=2147483647, description="Seed of the start vectors and of all draws.")
    threads: int = Field(
        1,
        ge=1,
        le=1024,
        description="More than one makes the training faster, but each run then gives slightly different vectors. [threads]",
    )


class Counting(Block):
    """What is counted as a co-occurrence."""

    window: int = Field(
        15, ge=1, le=20, description="Tokens to each side that count as context, weighted by 1/distance. [tokens]"
    )
    min_count: int = Field(5, ge=1, description="Rarer tokens get no vector.")
    weighting: Literal["inverse", "uniform"] = Field(
        "inverse", description="Weight of a pair - 1/distance (inverse, as in GloVe) or 1 (uniform)."
    )


class CountSettings(Counting):
    """Counting of co-occurrences."""

    memory_gb: float = Field(
        4, ge=0.1, description="Memory for counting; larger corpora are counted in chunks kept on disk. [GB]"
    )


class GloveSettings(Block):
    """Training of GloVe vectors from the counts."""

    dimensions: int = Field(300, ge=2, le=4096, description="Length of a vector.")
    iterations: int = Field(15, ge=1, description="Passes over the counts.")
    x_max: float = Field(10, gt=0, description="Count from which on a pair has full weight.")
    alpha: float = Field(0.75, gt=0, description="Exponent of the weight below x_max.")
    learning_rate: float = Field(0.05, gt=0, description="Learning rate of AdaGrad.")
    seed: int = Field(1, ge=0, description="Seed of the start vectors and of the order.")
    block: int = Field(
        1024,
        ge=16,
        le=65536,
        description="Tokens on a side of a block of the counts, which is trained as a whole in a core's cache. [tokens]",
    )
    early_stop: float | None = Field(
        None,
        gt=0,
        lt=1,
        description=(
            "Training ends after a pass that lowered the objective by a smaller share than this; null for all iterations."
        ),
    )


class VectorsBlock(Block):
    """Vectors of tokens. GloVe's defaults are TokAlign's; those of fastText are a fork's of TokAlign for medical text."""

    method: Literal["glove", "fasttext", "imported"] = Field(
        "glove",
        description=(
            "GloVe (Pennington et al. 2014), fastText (Bojanowski et al. 2017), or existing vectors; only the block "
            "of the method, and count for GloVe, is read."
        ),
    )
    imported: LeftOut[ImportedVectors] = Field(
        None, description="Vectors that were trained elsewhere, on ids of the same tokenizers."
    )
    fasttext: FastTextSettings = filled("Training of skip-gram vectors with fastText.")
    count: CountSettings = filled("Counting of co-occurrences.")
    glove: GloveSettings = filled("Training of the vectors.")

    @model_validator(mode="after")
    def _files_of_imported_vectors(self) -> Self:
        if self.method == "imported" and self.imported is None:
            raise broken("missing key", "imported", expected="a value for 'imported'", mend="add `imported: {files: {...}}`")
        return self
