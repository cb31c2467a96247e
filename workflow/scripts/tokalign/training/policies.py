"""What a stage trains (embeddings, their new rows, everything or LoRA adapters), and the finished model.

A stage keeps and publishes only the *trained parameters*: the finished model is the checkpoint that the stage started from, with
these put in. So everything that was not trained keeps its bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, LoraModel
from torch import nn
from transformers import PreTrainedModel

from tokalign.alignment.table import TWINS, read_categories
from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.config.recipes import LoraSettings
from tokalign.models.loading import embeddings

POLICIES = ("embeddings", "new_rows", "all", "lora")


def new_row_mask(tokens: str | Path, rows: int) -> NDArray[np.bool_]:
    """Return which embedding rows belong to tokens without an exact twin in the source vocabulary.

    Args:
        tokens: ``tokens.parquet`` of the alignment.
        rows: rows of the embedding; those after the vocabulary are padding and not new.

    Returns:
        bool, shape (rows,).

    Raises:
        ArtifactError: the table has more tokens than the embedding has rows.
    """
    categories = read_categories(tokens)
    if len(categories) > rows:
        raise ArtifactError(
            f"{tokens}: does not belong to this model",
            found=f"{len(categories)} tokens, {rows} embedding rows",
            expected="a row each",
        )
    mask = np.zeros(rows, dtype=bool)
    mask[: len(categories)] = ~np.isin(categories, TWINS)
    return mask


def with_adapters(model: PreTrainedModel, lora: LoraSettings) -> PreTrainedModel:
    """Put LoRA adapters into the layers of a model in place, and return the model.

    Raises:
        ConfigurationError: no module has one of the target names.
    """
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type="CAUSAL_LM",
    )
    try:
        LoraModel(model, config, "default")
    except ValueError as error:
        names = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)})
        raise ConfigurationError("lora: targets", found=error, expected=f"all-linear or some of {', '.join(names)}") from error
    return model


def select_parameters(
    model: PreTrainedModel, policy: str, *, lora: LoraSettings | None = None, new_rows: NDArray[np.bool_] | None = None
) -> PreTrainedModel:
    """Mark the parameters that a stage trains; the others get no gradient and no optimizer state.

    Args:
        model: changed in place.
        policy: ``embeddings`` (input embedding and LM head as the model's API names them, tied or not), ``new_rows`` (only their
            rows of tokens without an exact twin; the gradient of the others is zero, and AdamW's weight decay must be off for
            them), ``all``, or ``lora``.
        lora: settings of the policy ``lora``.
        new_rows: rows of the policy ``new_rows``, bool, shape (rows,).

    Returns:
        The model.

    Raises:
        InputError: the policy is unknown, or its settings are missing.
    """
    if policy == "all":
        model.requires_grad_(True)
        return model
    if policy == "lora" and lora is not None:
        with_adapters(model, lora)  # leaves only the adapters trainable
        if lora.embeddings:
            for module in embeddings(model)[:2]:
                module.weight.requires_grad_(True)
        return model
    if policy == "embeddings" or (policy == "new_rows" and new_rows is not None):
        model.requires_grad_(False)
        for module in embeddings(model)[:2]:
            module.requires_grad_(True)
            if policy == "new_rows" and getattr(module, "bias", None) is not None:
                module.bias.requires_grad_(False)
        if policy == "new_rows":
            for weight in {id(module.weight): module.weight for module in embeddings(model)[:2]}.values():
                keep_rows(weight, new_rows)
        return model
    raise InputError("what a stage trains", found=policy, expected=", ".join(POLICIES))


def keep_rows(weight: nn.Parameter, trained: NDArray[np.bool_]) -> None:
    """Set the gradient of a matrix to zero except in some rows."""
    rows = torch.from_numpy(trained)[:, None]

    def masked(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * rows.to(gradient.device, gradient.dtype)

    weight.register_hook(masked)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters by name; tied ones appear once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def put_in(model: PreTrainedModel, trained: Mapping[str, torch.Tensor], where: str | Path) -> None:
    """Put trained parameters into a model.

    Args:
        model: changed in place.
        trained: values by name; they are cast to the model's dtype.
        where: where they come from, for the error message.

    Raises:
        ArtifactError: a name or a shape does not fit.
    """
    own = dict(model.named_parameters())
    wrong = [name for name, value in trained.items() if name not in own or own[name].shape != value.shape]
    if wrong:
        raise ArtifactError(f"{where}: trained parameters do not fit the model", found=", ".join(sorted(wrong)[:5]))
    with torch.no_grad():
        for name, value in trained.items():
            own[name].copy_(value)


def finished_model(model: PreTrainedModel, policy: str, trained: Mapping[str, torch.Tensor], lora: LoraSettings | None) -> Any:
    """Return the model that a stage publishes.

    Args:
        model: the checkpoint that the stage started from, reloaded in the published dtype.
        policy: policy of the stage.
        trained: trained parameters by name.
        lora: settings of the policy ``lora``; adapters are merged in float32, then rounded once.
    """
    if policy == "lora":
        kind = model.dtype
        adapted = with_adapters(model.float(), lora)
        put_in(adapted, trained, "the trained stage")
        return merge_adapters(adapted).to(kind)
    put_in(model, trained, "the trained stage")
    return model


def merge_adapters(model: PreTrainedModel) -> PreTrainedModel:
    """Merge adapters into their weights and remove them."""
    for name, module in list(model.named_modules()):
        if not hasattr(module, "lora_A"):
            continue
        module.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module.get_base_layer())
    return model
