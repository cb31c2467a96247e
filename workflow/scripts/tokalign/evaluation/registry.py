"""What is known of every evaluation suite; imports nothing heavy, as the rules and the command lines read it at every start."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokalign.config.base import Block
from tokalign.config.evaluations import (
    ChoicesSettings,
    EfficiencySettings,
    GenerationSettings,
    PerplexitySettings,
    TasksSettings,
    TokenizerSettings,
    TranslationSettings,
)

if TYPE_CHECKING:
    from tokalign.evaluation.suite import Suite


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
        module: of the library; of a suite of models it holds ``SUITE``.
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

    def load(self) -> Suite:
        """Import a suite of models, with the libraries that it needs."""
        suite: Suite = importlib.import_module(self.module).SUITE
        return suite


SUITES = {
    "tokenizers": SuiteEntry(
        "evaluate_tokenizer",
        "tokalign.evaluation.suites.tokenizer.metrics",
        TokenizerSettings,
        ("bytes", "characters"),
        of_models=False,
    ),
    "perplexity": SuiteEntry(
        "evaluate_perplexity",
        "tokalign.evaluation.suites.perplexity",
        PerplexitySettings,
        content=("bytes", "characters", "reference_tokens"),
        inputs=(
            Input("documents", "documents.parquet of the evaluation"),
            Input("reference-tokenizer", "folder of the tokenizer whose tokens normalize perplexity", required=False),
        ),
        how_it_runs=("trust_remote_code", "batch_tokens"),
    ),
    "tasks": SuiteEntry(
        "answer_tasks",
        "tokalign.evaluation.suites.tasks.answers",
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
        "tokalign.evaluation.suites.choices",
        ChoicesSettings,
        content=("question", "choices", "answer"),
        inputs=(Input("testsets", "items.parquet of each test set", many=True),),
        how_it_runs=("trust_remote_code", "batch_tokens"),
    ),
    "translation": SuiteEntry(
        "translate_segments",
        "tokalign.evaluation.suites.translation",
        TranslationSettings,
        content=("source", "reference"),
        inputs=(Input("testsets", "items.parquet of each test set", many=True),),
        how_it_runs=("trust_remote_code", "batch_tokens"),
    ),
    "generation": SuiteEntry(
        "generate_text",
        "tokalign.evaluation.suites.generation",
        GenerationSettings,
        content=("prompt",),
        inputs=(Input("prompts", "items.parquet of a test set, or documents.parquet of the evaluation"),),
        how_it_runs=("trust_remote_code", "batch_tokens"),
    ),
    "efficiency": SuiteEntry(
        "measure_efficiency",
        "tokalign.evaluation.suites.efficiency",
        EfficiencySettings,
        content=("prompt_bytes",),
        inputs=(Input("documents", "documents.parquet of the evaluation"),),
        how_it_runs=("trust_remote_code",),
        of_the_machine=True,
    ),
}
"""By name: that of the block in the configuration, of the folder of results, and of ``suite`` in a result."""
MODEL_SUITES = tuple(name for name, suite in SUITES.items() if suite.of_models)
