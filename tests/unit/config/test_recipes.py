"""Stages of a recipe: what they compute, how and where they run, and what makes a training what it is."""

from __future__ import annotations

from typing import Any

import pytest
from tokalign.common.errors import ConfigurationError
from tokalign.config.experiments import canonical
from tokalign.config.recipes import Computation, Execution, Placement, Stage, StageSettings, TrainSettings

GIVEN: dict[str, Any] = {
    "name": "s", "train": "all", "steps": None, "tokens": 1000, "learning_rate": 1, "batch_tokens": 64, "schedule": "cosine",
    "warmup_ratio": 0.03, "weight_decay": 0, "max_grad_norm": 0.3, "precision": "auto", "document_mask": False,
    "publish": "best of 5 bytes every 2 steps", "mixture": {"corpus": "c", "share": 0.25}, "trust_remote_code": True,
}  # fmt: skip
"""What the rule of the training passes."""


def test_every_key_of_a_stage_says_what_it_computes_how_or_where_it_runs():
    parts = [set(kind.model_fields) for kind in (Computation, Execution, Placement)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert set(Stage.model_fields) == set.union(*parts) | {"publish", "lora"}
    assert set(StageSettings.model_fields) == parts[0] | {"publish", "lora"}
    assert set(Placement.model_fields) == {"gpus", "nodes", "processes"}
    assert set(Execution.model_fields) == {
        "device_sequences", "gradient_checkpointing", "zero", "loss", "attention", "compile", "quantization", "save_steps",
        "log_steps", "heldout_steps", "heldout_bytes", "max_loss_rise",
    }  # fmt: skip


def test_what_makes_a_training_what_it_is():
    """The fingerprint: tokens as steps, 1000 / 64 rounded up; of the mixture its share; no trust in code."""
    settings = TrainSettings.of(GIVEN).part(StageSettings)
    expected = {
        "name": "s", "train": "all", "steps": 16, "learning_rate": 1, "batch_tokens": 64, "schedule": "cosine",
        "warmup_ratio": 0.03, "weight_decay": 0, "max_grad_norm": 0.3, "precision": "auto", "document_mask": False,
        "publish": "best of 5 bytes every 2 steps", "mixture_share": 0.25, "lora": None,
    }  # fmt: skip
    assert canonical(settings.content()) == canonical(expected)
    adapters = {"rank": 4, "alpha": 8, "dropout": 0, "targets": ["q", "v"], "embeddings": True}
    stage = StageSettings.of({**settings.plain(), "train": "lora", "lora": adapters, "mixture": None, "steps": 7, "tokens": None})
    changed = {"train": "lora", "lora": adapters, "steps": 7, "mixture_share": None}
    assert canonical(stage.content()) == canonical(expected | changed)


def test_a_block_is_written_as_it_was_given():
    """So the model card and the records of a run say what the configuration says: no key more, whole numbers whole."""
    assert canonical(TrainSettings.of(GIVEN).plain()) == canonical(GIVEN)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"steps": 3}, "settings: steps or tokens"),
        ({"train": "lora"}, "settings.lora: missing key"),
        ({"lora": {}}, "settings.lora: only of a stage with train: lora"),
        ({"publish": "best"}, "settings.publish: out of bounds"),
        ({"mixture": {"corpus": "c"}}, "settings.mixture.share: missing key"),
    ],
)
def test_settings_that_do_not_fit_together(changes, text):
    with pytest.raises(ConfigurationError) as caught:
        TrainSettings.of({**GIVEN, **changes}, "settings")
    assert str(caught.value).startswith(text)
