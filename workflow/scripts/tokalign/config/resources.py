"""The block `resources`: what the jobs of a rule ask for instead of what is estimated."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tokalign.config.base import Block, LeftOut

RuleName = Literal[
    "prepare_corpus", "resolve_tokenizer", "train_tokenizer", "resolve_model", "tokenize_shard", "pack_tokens",
    "count_cooccurrences", "train_glove_vectors", "train_fasttext_vectors", "import_vectors", "align_vocabularies",
    "export_alignment", "report_alignment", "fit_rows", "initialize_model", "train_stage", "sample_heldout",
    "evaluate_perplexity", "evaluate_tokenizer", "evaluate_alignment", "prepare_testset", "answer_choices", "answer_tasks",
    "translate_segments", "generate_text", "measure_efficiency", "compare_models",
]  # fmt: skip


class RuleResources(Block):
    """What the jobs of one rule ask for; what is left out is estimated."""

    mem_mb: LeftOut[int] = Field(
        None, ge=100, description="Main memory of each node; twice as much at each further attempt. [MB]"
    )
    runtime: LeftOut[int] = Field(
        None,
        ge=1,
        description="Time limit; longer by as much at each further attempt, except for train_stage, which continues. [minutes]",
    )
    threads: LeftOut[int] = Field(
        None,
        ge=1,
        description="CPU threads of each node; not of train_fasttext_vectors, whose result depends on them. [threads]",
    )
