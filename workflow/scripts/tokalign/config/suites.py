"""Types of the suites of an evaluation, and the table of what is known of each suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tokalign.config.base import Block, Blocks, DocumentStart, Precision, Unique, broken, filled
from tokalign.config.models import RemoteCode
from tokalign.config.recipes import PRECISION

SAME_PRECISION = "Arithmetic, as of perplexity."


Texts = Annotated[Unique[str], Field(min_length=1)]


Checkpoints = Annotated[
    Unique[Literal["source", "baselines", "initialized", "stages", "adapted"]],
    Field(min_length=1),
]


@dataclass(frozen=True)
class Input:
    """A file or folder that a suite measures on, and the option of its command.

    Attributes:
        option: name of the option, without dashes before it.
        help: what it is.
        many: whether the option takes several.
        required: whether the command refuses to run without it.
    """

    option: str
    help: str
    many: bool = False
    required: bool = True

    @property
    def key(self) -> str:
        """Name of the argument of the suite's ``read``."""
        return self.option.replace("-", "_")


@dataclass(frozen=True)
class SuiteEntry:
    """What is known of a suite without loading it.

    Attributes:
        command: name of its command and of its rule.
        module: below ``tokalign/evaluation/suites/``; of a suite of models it holds ``SUITE``.
        settings: type of what its command reads.
        content: columns of its items that say what was asked and not what a system made of it: equal for all systems.
        inputs: what a model is measured on.
        how_it_runs: settings that say how it is run, and change no result.
        of_models: whether it measures models; else tokenizers.
        of_the_machine: whether its values depend on the machine.
    """

    command: str
    module: str
    settings: type[Block]
    content: tuple[str, ...]
    inputs: tuple[Input, ...] = ()
    how_it_runs: tuple[str, ...] = ()
    of_models: bool = True
    of_the_machine: bool = False


class Measured(Block):
    """Which models of an experiment a suite measures."""

    checkpoints: Checkpoints = Field(
        ["source", "adapted"],
        description=(
            "Which models of an experiment are measured: source (as it came), baselines (other initializations), initialized, "
            "stages (each stage of training but the last), adapted (the last stage)."
        ),
    )


def prompt_with(hole: str) -> Callable[[Any], Any]:
    """Return a check that something of each item is in the prompt."""

    def check(block: Any) -> Any:
        if hole not in block.prompt:
            raise broken("nothing of the item is in it", "prompt", found=repr(block.prompt), expected=hole)
        return block

    return check


class PerplexityScoring(Block):
    """How documents are scored."""

    window: int = Field(2048, ge=8, description="Context length. [tokens]")
    stride: int = Field(1024, ge=1, description="Tokens by which windows advance in longer documents. [tokens]")
    batch_tokens: int = Field(8192, ge=8, description="Tokens scored at once. [tokens]")
    precision: Precision = Field("auto", description=PRECISION)
    document_start: DocumentStart = Field("eos", description="Token that stands before a document's first token.")

    @model_validator(mode="after")
    def _windows_meet(self) -> Self:
        if self.stride > self.window:
            raise broken(
                "larger than the window, so tokens would be left out", "stride", found=self.stride,
                expected=f"at most {self.window}", mend="set it to half the window",
            )  # fmt: skip
        return self


class Perplexity(Measured, PerplexityScoring):
    """How well models predict held-out documents."""

    reference_tokenizer: str | None = Field(
        None,
        description=(
            "Tokenizer whose tokens the normalized perplexity counts for all models; null takes that of the source model, so name "
            "one to compare adaptations of several source models."
        ),
    )
    checkpoints: Checkpoints = Field(
        ["source", "baselines", "initialized", "stages", "adapted"], description=Measured.model_fields["checkpoints"].description
    )


class PerplexitySettings(RemoteCode, PerplexityScoring):
    """What is read to score documents."""


class TokenizerMeasures(Block):
    """Measures of the tokenizers on the validation split."""

    testset: str | None = Field(None, description="Parallel test set for parity between languages; null measures none.")
    parity_language: str = Field("en", description="Language of it that the others are compared with.")
    renyi_alpha: float = Field(2.5, gt=0, description="Order of the Renyi efficiency.")


class TokenizerSettings(Block):
    """What is read to measure a tokenizer."""

    renyi_alpha: float = Field(2.5, gt=0, description="Order of the Renyi efficiency.")
    parity_language: str | None = Field(
        None, description="Language of the parallel test set that the others are compared with; null without a test set."
    )


class NamedTasks(Block):
    """Which tasks of lm-evaluation-harness are run."""

    names: Texts = Field(description="Tasks or groups of tasks, such as arc_easy or belebele_spa_Latn.")
    include: str | None = Field(
        None,
        description=(
            "Folder with YAML files of tasks of your own, whose data are local files (seen from the YAML file); null for none."
        ),
    )
    shots: int | None = Field(
        None,
        ge=0,
        description="Examples in the prompt; null leaves it to the task, and a task that is defined for 0 keeps that.",
    )


class TaskRuns(NamedTasks):
    """How tasks are run."""

    limit: int | None = Field(None, ge=1, description="Most questions of each task; null takes all. [questions]")
    batch_size: int = Field(16, ge=1, description="Most prompts with an answer in a forward pass. [sequences]")
    precision: Precision = Field("auto", description=SAME_PRECISION)


class Tasks(Measured, TaskRuns):
    """Tasks of lm-evaluation-harness, by their names."""


class TasksSettings(RemoteCode, TaskRuns):
    """What is read to run tasks."""


class ChoiceScoring(Block):
    """How multiple-choice questions are put and scored."""

    testsets: Texts = Field(description="Test sets of the kind choices.")
    prompt: str = Field(
        "Question: {question}\nAnswer:",
        description="What stands before a choice; {question} and {context} are filled in.",
    )
    separator: str = Field(" ", description="Between prompt and choice; part of what is scored.")
    batch_tokens: int = Field(8192, ge=8, description="Tokens scored at once. [tokens]")
    document_start: DocumentStart = Field("eos", description="Token that stands before the prompt.")
    precision: Precision = Field("auto", description=SAME_PRECISION)

    _prompt = model_validator(mode="after")(prompt_with("{question}"))


class Choices(Measured, ChoiceScoring):
    """Multiple-choice test sets, scored by log-likelihood."""


class ChoicesSettings(RemoteCode, ChoiceScoring):
    """What is read to answer multiple-choice questions."""


class Decoding(Block):
    """How tokens are chosen: the most likely token, or a draw of the likely ones."""

    temperature: float = Field(0, ge=0, description="Temperature of the draw; 0 takes the most likely token (greedy).")
    top_p: float = Field(1, gt=0, le=1, description="Share of the probability that is drawn from (nucleus sampling).")
    seed: int = Field(1, ge=0, description="Seed of the draws.")


DECODINGS = "Ways of choosing tokens, by name."


Decodings = Annotated[Blocks[Decoding], Field(min_length=1)]


class Direction(Block):
    """A direction of translation."""

    testset: str = Field(description="Parallel test set.")
    source: str = Field(description="Language translated from.")
    target: str = Field(description="Language translated to.")


class TranslationPrompts(Block):
    """How test sets are translated."""

    directions: Annotated[Unique[Direction], Field(min_length=1)] = Field(
        description="Test set and the languages that are translated from and to."
    )
    prompt: str = Field(
        "{source_language}: {text}\n{target_language}:",
        description=(
            "What the model continues; {source_language}, {target_language} (names in English) and {text} are filled in."
        ),
    )
    shots: int = Field(
        0,
        ge=0,
        description="Examples before it, from the end of the test set, which are not translated. [segments]",
    )
    max_new_tokens: int = Field(128, ge=1, description="Longest translation; it ends at a line break. [tokens]")
    decodings: Decodings = filled(DECODINGS, {"greedy": {}})
    batch_tokens: int = Field(8192, ge=8, description="Tokens of prompts and translations in a batch. [tokens]")
    document_start: DocumentStart = Field("eos", description="Token that stands before the prompt.")
    precision: Precision = Field("auto", description=SAME_PRECISION)

    _prompt = model_validator(mode="after")(prompt_with("{text}"))


class Translation(Measured, TranslationPrompts):
    """Translation of parallel test sets by prompts."""


class TranslationSettings(RemoteCode, TranslationPrompts):
    """What is read to translate test sets."""


class FreeText(Block):
    """How free text is written and judged."""

    testset: str | None = Field(
        None, description="Test set of the kind prompts; null takes the beginnings of the held-out documents."
    )
    prompts: int = Field(
        1000,
        ge=2,
        description="Most prompts, equally many per language. Results of fewer than 1,000 are marked as exploratory. [prompts]",
    )
    prompt_characters: int = Field(
        200,
        ge=1,
        description=(
            "Longest beginning of a held-out document that is taken as prompt, at most half of the document. [characters]"
        ),
    )
    max_new_tokens: int = Field(64, ge=1, description="Longest continuation. [tokens]")
    decodings: Decodings = filled(DECODINGS, {"greedy": {}, "nucleus": {"temperature": 1.0, "top_p": 0.9}})
    self_bleu_references: int = Field(
        50,
        ge=1,
        description=("Other continuations of the same language that each one is compared with, drawn by seed. [continuations]"),
    )
    batch_tokens: int = Field(8192, ge=8, description="Tokens of prompts and continuations in a batch. [tokens]")
    document_start: DocumentStart = Field("eos", description="Token that stands before the prompt.")
    precision: Precision = Field("auto", description=SAME_PRECISION)


class Generation(Measured, FreeText):
    """Diversity and repetition of free text."""


class GenerationSettings(RemoteCode, FreeText):
    """What is read to write free text."""


class Timing(Block):
    """What is timed."""

    batch_sizes: Annotated[Unique[Annotated[int, Field(ge=1)]], Field(min_length=1)] = Field(
        [1, 8], description="Texts processed at once; each number is a separate measurement. [sequences]"
    )
    prompt_bytes: int = Field(
        1000, ge=16, description="Length of the texts that are read, beginnings of held-out documents. [bytes]"
    )
    new_bytes: int = Field(
        256,
        ge=8,
        description="Text that each system writes; the number of tokens follows from its bytes per token. [bytes]",
    )
    warmup: int = Field(2, ge=0, description="Runs before the measured ones. [runs]")
    repetitions: int = Field(5, ge=2, description="Measured runs. [runs]")
    precision: Precision = Field("auto", description=SAME_PRECISION)


class Efficiency(Measured, Timing):
    """Speed and memory of reading and writing text."""


class EfficiencySettings(RemoteCode, Timing):
    """What is read to measure speed and memory."""


SUITES = {
    "perplexity": SuiteEntry(
        "evaluate_perplexity",
        "perplexity",
        PerplexitySettings,
        content=("bytes", "characters", "reference_tokens"),
        inputs=(
            Input("documents", "documents.parquet of the evaluation"),
            Input("reference-tokenizer", "folder of the tokenizer whose tokens normalize perplexity", required=False),
        ),
        how_it_runs=("trust_remote_code", "batch_tokens"),
    ),
    "tokenizers": SuiteEntry(
        "evaluate_tokenizer",
        "tokenizer.metrics",
        TokenizerSettings,
        ("bytes", "characters"),
        of_models=False,
    ),
    "tasks": SuiteEntry(
        "answer_tasks",
        "tasks.answers",
        TasksSettings,
        content=("question_hash", "prompt_hash"),
        inputs=(
            Input("tasks", "tasks.json of resolve_tasks.py"),
            Input("fetched", "folder of fetch_tasks.py, if not all tasks are your own", required=False),
        ),
        how_it_runs=("trust_remote_code", "batch_size", "include"),
    ),
    "choices": SuiteEntry(
        "answer_choices",
        "choices",
        ChoicesSettings,
        content=("question", "choices", "answer"),
        inputs=(Input("testsets", "items.parquet of each test set", many=True),),
        how_it_runs=("trust_remote_code", "batch_tokens"),
    ),
    "translation": SuiteEntry(
        "translate_segments",
        "translation",
        TranslationSettings,
        content=("source", "reference"),
        inputs=(Input("testsets", "items.parquet of each test set", many=True),),
        how_it_runs=("trust_remote_code", "batch_tokens"),
    ),
    "generation": SuiteEntry(
        "generate_text",
        "generation",
        GenerationSettings,
        content=("prompt",),
        inputs=(Input("prompts", "items.parquet of a test set, or documents.parquet of the evaluation"),),
        how_it_runs=("trust_remote_code", "batch_tokens"),
    ),
    "efficiency": SuiteEntry(
        "measure_efficiency",
        "efficiency",
        EfficiencySettings,
        content=("prompt_bytes",),
        inputs=(Input("documents", "documents.parquet of the evaluation"),),
        how_it_runs=("trust_remote_code",),
        of_the_machine=True,
    ),
}
"""By name: that of the block in the configuration, of the folder of results, and of ``suite`` in a result."""


MODEL_SUITES = tuple(name for name, suite in SUITES.items() if suite.of_models)


SuiteName = Literal[tuple(SUITES)]
