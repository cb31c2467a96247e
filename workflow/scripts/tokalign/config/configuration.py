"""The configuration as a whole: named blocks, and the experiments that combine their names."""

from __future__ import annotations

from pydantic import Field

from tokalign.config.alignments import AlignmentBlock
from tokalign.config.base import Block, Blocks
from tokalign.config.corpora import Corpus
from tokalign.config.evaluations import Evaluation
from tokalign.config.experiments import Experiment
from tokalign.config.models import Model
from tokalign.config.recipes import Recipe
from tokalign.config.testsets import Testset
from tokalign.config.tokenizers import TokenizerBlock
from tokalign.config.vectors import VectorsBlock


class Configuration(Block):
    """Named blocks (corpora, models, tokenizers, vectors, alignments, recipes, evaluations) and the experiments that combine them."""

    corpora: Blocks[Corpus] = Field(min_length=1, description="Collections of text.")
    models: Blocks[Model] = Field(min_length=1, description="Causal language models whose tokenizer is to be replaced.")
    tokenizers: Blocks[TokenizerBlock] = Field(
        min_length=1, description="Tokenizers, those of the models and those to be given to them."
    )
    vectors: Blocks[VectorsBlock] = Field({}, description="How token vectors are learned from text, or where they are.")
    alignments: Blocks[AlignmentBlock] = Field(min_length=1, description="How rows of the new embedding are found.")
    recipes: Blocks[Recipe] = Field(min_length=1, description="How an initialized model is trained.")
    testsets: Blocks[Testset] = Field({}, description="Data with right answers or prompts, which evaluations measure models on.")
    evaluations: Blocks[Evaluation] = Field(min_length=1, description="What models and tokenizers are measured on.")
    experiments: list[Experiment] = Field(
        min_length=1, description="Combinations of block names; a list instead of a name means every combination."
    )
