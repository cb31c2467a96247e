"""Experiments: combinations of block names, expanded to runs."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any


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


def _names(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


EXPERIMENT_SECTIONS = {
    "model": "models", "tokenizer": "tokenizers", "corpus": "corpora", "alignment": "alignments",
    "recipe": "recipes", "evaluation": "evaluations",
}  # fmt: skip


def expand(config: dict[str, Any]) -> list[Run]:
    """Return every run of every experiment, in the order of the configuration."""
    runs = []
    for experiment in config["experiments"]:
        axes = [_names(experiment[key]) for key in EXPERIMENT_SECTIONS]
        for names in itertools.product(*axes):
            for seed in experiment["seeds"]:
                chosen = dict(zip(EXPERIMENT_SECTIONS, names, strict=True))
                runs.append(Run(experiment["name"], seed=seed, baselines=tuple(experiment["baselines"]), **chosen))
    return runs


def canonical(value: Any) -> str:
    """Return JSON in which equal values are equal text, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
