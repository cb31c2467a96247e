"""Every path under results/, as a pattern that turns names into a path and back.

A path holds exactly the names that its content depends on, so that experiments share results where possible.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from string import Formatter
from typing import Any

NAME = r"(?:[A-Za-z0-9._]|-(?!-))+"
"""A name of a block in a path: two hyphens join names, so a name has no two hyphens in a row."""
WILDCARDS = {
    **dict.fromkeys(
        ("corpus", "source", "model", "tokenizer", "source_tokenizer", "target_tokenizer", "vectors", "alignment", "recipe", "stage",
         "evaluation", "testset", "name"), NAME,
    ),
    "wheel": r"[^/]+",
    "kind": "model|tokenizer|embedder",
    "seed": r"\d+",
    "block": r"\d+",
    "shard": r"train-\d{5}|validation",
    "suite": r"\w+",
    "table": r"\w+",
    "figure": r"\w+",
    "format": "[a-z]+",
}  # fmt: skip
"""Regular expression of each wildcard; ``checkpoint`` follows below."""


class Pattern(str):
    """A path with names in braces, such as ``results/models/{model}/hf``. Rules use it unchanged, as text."""

    __slots__ = ()

    @property
    def wildcards(self) -> list[str]:
        """Return the names in braces, in order."""
        return [name for _, name, _, _ in Formatter().parse(self) if name]

    def of(self, names: Mapping[str, Any] | None = None, /, **more: Any) -> str:
        """Return the path for some names; names without a brace are ignored.

        Args:
            names: values by name in braces, such as the wildcards of a rule.
            more: further names, which take precedence.

        Raises:
            KeyError: a brace has no name.
        """
        return self.format_map({**dict(names.items() if names is not None else ()), **more})

    def where(self, **some: str) -> Pattern:
        """Return the pattern with some braces replaced, such as ``tokenizer="{source_tokenizer}"``; the others stay."""
        return Pattern(self.format_map({name: some.get(name, f"{{{name}}}") for name in self.wildcards}))

    def names(self, path: str) -> dict[str, str]:
        """Return the names in a path.

        Raises:
            ValueError: the path does not match this pattern.
        """
        expression = ""
        for literal, name, _, _ in Formatter().parse(self):
            expression += re.escape(literal)
            if name:
                seen = f"(?P<{name}>" in expression
                expression += f"(?P={name})" if seen else f"(?P<{name}>{WILDCARDS[name]})"
        match = re.fullmatch(expression, path)
        if match is None:
            raise ValueError(f"{path!r} is not a path of the form {str(self)!r}")
        return match.groupdict()

    def matches(self, path: str) -> bool:
        """Return whether a path matches this pattern."""
        try:
            self.names(path)
        except ValueError:
            return False
        return True

    @property
    def key(self) -> str:
        """Return the part that distinguishes its files, such as ``{corpus}/{tokenizer}/{vectors}``."""
        parts = [part for part in PurePosixPath(self).parts if "{" in part]
        if not parts:
            return PurePosixPath(self).stem
        last = parts[-1]
        parts[-1] = last[: last.rindex("}") + 1]
        return "/".join(parts)


BENCHMARKS = "logs/benchmarks"
"""Folder of the time and memory of each job."""


def log(rule: str, made: Pattern) -> str:
    """Return the log file of a rule whose outputs match a pattern."""
    return f"logs/{rule}/{made.key}.log"


def benchmark(rule: str, made: Pattern) -> str:
    """Return the benchmark file (time and memory) of a rule whose outputs match a pattern."""
    return f"{BENCHMARKS}/{rule}/{made.key}.tsv"


# ---- downloads ----

FETCHED_WHEEL = Pattern("results/fetched/wheels/{wheel}")
FETCHED_HUB = Pattern("results/fetched/hub/{kind}/{name}")
FETCHED_DATASET = Pattern("results/fetched/datasets/{corpus}/{source}")
FETCHED_TESTSET = Pattern("results/fetched/testsets/{testset}")
FETCHED_TASKS = Pattern("results/fetched/tasks/{evaluation}")

# ---- text, tokenizers, models ----

CORPUS_TEXT = Pattern("results/corpora/{corpus}/text")
CORPUS_MANIFEST = Pattern("results/corpora/{corpus}/manifest.json")
TOKENIZER = Pattern("results/tokenizers/{tokenizer}/hf")
VOCABULARY = Pattern("results/tokenizers/{tokenizer}/vocabulary.parquet")
TOKENIZER_INFO = Pattern("results/tokenizers/{tokenizer}/info.json")
MODEL = Pattern("results/models/{model}/hf")
MODEL_INFO = Pattern("results/models/{model}/info.json")

# ---- tokens, vectors, alignments ----

TOKENS = Pattern("results/tokens/{corpus}/{tokenizer}/{shard}.arrow")
BLOCKS = Pattern("results/packed/{corpus}/{tokenizer}/{block}/blocks.arrow")
BLOCKS_MANIFEST = Pattern("results/packed/{corpus}/{tokenizer}/{block}/manifest.json")
COOCCURRENCES = Pattern("results/vectors/{corpus}/{tokenizer}/{vectors}/cooccurrences.safetensors")
VECTORS = Pattern("results/vectors/{corpus}/{tokenizer}/{vectors}/vectors.safetensors")
OBJECTIVE = Pattern("results/vectors/{corpus}/{tokenizer}/{vectors}/objective.json")
_ALIGNMENT = "results/alignments/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}"
ALIGNMENT_MATRIX = Pattern(f"{_ALIGNMENT}/alignment.safetensors")
ALIGNMENT_TABLE = Pattern(f"{_ALIGNMENT}/tokens.parquet")
ALIGNMENT_REPORT = Pattern(f"{_ALIGNMENT}/report.json")
ALIGNMENT_EXPORT = Pattern(f"{_ALIGNMENT}/align_matrix.json")

# ---- models with a new vocabulary ----

FITTED = Pattern("results/fitted/{model}--{tokenizer}/{corpus}/{alignment}/rows.safetensors")
INITIALIZED = Pattern("results/initialized/{model}--{tokenizer}/{corpus}/{alignment}")
ADAPTED = Pattern("results/adapted/{model}--{tokenizer}/{corpus}/{alignment}/{recipe}/s{seed}/{stage}")
STATE = Pattern(ADAPTED.replace("results/", "work/", 1))
"""Working folder of an unfinished stage; not under results/, so that Snakemake does not remove it."""

# ---- evaluation ----

TESTSET = Pattern("results/testsets/{testset}/items.parquet")
TESTSET_MANIFEST = Pattern("results/testsets/{testset}/manifest.json")
DOCUMENTS = Pattern("results/evaluations/{evaluation}/documents.parquet")
TASKS = Pattern("results/evaluations/{evaluation}/tasks.json")
CHECKPOINT = Pattern("results/{checkpoint}")
"""Any model; ``{checkpoint}`` is its path below results/, and also the path of its result below the suite."""
SUITE_RESULT = Pattern("results/evaluations/{evaluation}/{suite}/{checkpoint}.json")
SUITE_ITEMS = Pattern("results/evaluations/{evaluation}/{suite}/{checkpoint}.parquet")
TOKENIZER_RESULT = Pattern("results/evaluations/{evaluation}/tokenizers/{tokenizer}.json")
TOKENIZER_ITEMS = Pattern("results/evaluations/{evaluation}/tokenizers/{tokenizer}.parquet")
ALIGNMENT_SCORES = Pattern(
    "results/evaluations/{evaluation}/alignments/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}.json"
)
COMPARISON = Pattern("results/evaluations/{evaluation}/comparison.json")

# ---- tables, figures, summary ----

TABLES = "results/tables"
TABLE = Pattern("results/tables/{table}.{format}")
FIGURE = Pattern("results/figures/{figure}.{format}")
SUMMARY = Pattern("results/summary.{format}")

CHECKPOINTS = (MODEL, INITIALIZED, ADAPTED)
"""Patterns of the models that suites measure."""


def checkpoint_constraint(constraints: Mapping[str, str]) -> str:
    """Return the regular expression of ``{checkpoint}`` for those of the names in it."""
    texts = (pattern.removeprefix("results/") for pattern in CHECKPOINTS)
    return "|".join(re.sub(r"\{(\w+)\}", lambda brace: f"(?:{constraints[brace[1]]})", text) for text in texts)


WILDCARDS["checkpoint"] = checkpoint_constraint(WILDCARDS)


def checkpoint_of(path: str) -> str:
    """Return a model's path as it appears in the paths of its results."""
    return path.removeprefix("results/")


def checkpoint_names(checkpoint: str) -> dict[str, Any]:
    """Return the names in a checkpoint's path, with ``stage``: a recipe's stage, ``source`` or ``initialized``.

    Args:
        checkpoint: path below results/.

    Raises:
        ValueError: the path matches none of ``CHECKPOINTS``.
    """
    path = f"results/{checkpoint}"
    if MODEL.matches(path):
        return {**MODEL.names(path), "stage": "source"}
    if INITIALIZED.matches(path):
        return {**INITIALIZED.names(path), "stage": "initialized"}
    names = ADAPTED.names(path)
    return {**names, "seed": int(names["seed"])}
