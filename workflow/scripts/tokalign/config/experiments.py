"""The list `experiments`: combinations of block names, expanded to runs."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from tokalign.config.base import Block, Name, Unique

Names = str | Annotated[Unique[str], Field(min_length=1)]
"""One name or a list of names."""


class Experiment(Block):
    """A set of runs: one for every combination of the listed names and seeds."""

    name: Name = Field(description="Name of the experiment.")
    model: Names = Field(description="Name of a model, or a list of names.")
    tokenizer: Names = Field(description="Name of the new tokenizer, or a list of names.")
    corpus: Names = Field(description="Name of the corpus, or a list of names.")
    alignment: Names = Field(description="Name of an alignment, or a list of names.")
    recipe: Names = Field(description="Name of a recipe, or a list of names.")
    evaluation: Names = Field(description="Name of an evaluation, or a list of names.")
    baselines: Unique[str] = Field(
        [], description="Alignments to initialize and evaluate without training, as baselines in the tables."
    )
    seeds: Annotated[Unique[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] = Field(
        [1], description="Training seeds; each gives one run."
    )


@dataclass(frozen=True)
class Run:
    """One trained model of an experiment: a combination of names and a seed."""

    experiment: str
    model: str
    tokenizer: str
    corpus: str
    alignment: str
    recipe: str
    evaluation: str
    seed: int
    baselines: tuple[str, ...]


def names_of(value: str | list[str]) -> list[str]:
    """Return a name or a list of names as a list."""
    return [value] if isinstance(value, str) else list(value)


EXPERIMENT_SECTIONS = {
    "model": "models", "tokenizer": "tokenizers", "corpus": "corpora", "alignment": "alignments",
    "recipe": "recipes", "evaluation": "evaluations",
}  # fmt: skip


def expand(config: dict[str, Any]) -> list[Run]:
    """Return every run of every experiment, in the order of the configuration."""
    runs = []
    for experiment in config["experiments"]:
        axes = [names_of(experiment[key]) for key in EXPERIMENT_SECTIONS]
        for names in itertools.product(*axes):
            for seed in experiment["seeds"]:
                chosen = dict(zip(EXPERIMENT_SECTIONS, names, strict=True))
                runs.append(Run(experiment["name"], seed=seed, baselines=tuple(experiment["baselines"]), **chosen))
    return runs


def canonical(value: Any) -> str:
    """Return JSON with sorted keys, so that equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
