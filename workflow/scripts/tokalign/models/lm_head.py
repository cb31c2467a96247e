"""The LM head of a model without its body: the step from hidden states to logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class LogitScaling:
    """How some architectures scale the product of head and hidden state: ``cap * tanh(factor * product / cap)``.

    Attributes:
        factor: ``logit_scale`` (Cohere), 1 / ``logits_scaling`` (Granite), else 1.
        cap: ``final_logit_softcapping`` (Gemma 2), else ``None``.
    """

    factor: float
    cap: float | None

    @classmethod
    def of(cls, config: Any) -> LogitScaling:
        """Read the configuration of a model."""
        text = config.get_text_config()
        divisor = getattr(text, "logits_scaling", None) or 1.0
        return cls((getattr(text, "logit_scale", None) or 1.0) / divisor, getattr(text, "final_logit_softcapping", None))


def head_only(model: PreTrainedModel, hidden: torch.Tensor, scaling: LogitScaling) -> torch.Tensor:
    """Return the logits of hidden states, from head and scaling."""
    logits = model.get_output_embeddings()(hidden)
    if scaling.factor != 1:
        logits = logits * scaling.factor
    return logits if scaling.cap is None else scaling.cap * torch.tanh(logits / scaling.cap)


def explains_logits(model: PreTrainedModel) -> bool:
    """Return whether a model's logits are its head times its last hidden state, tested on a few tokens."""
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        return False  # its loss has a part beyond the logits
    if not isinstance(model.get_output_embeddings(), nn.Linear):
        return False  # such as a head with a LoRA adapter, whose weight alone does not make the product
    scaling, training = LogitScaling.of(model.config), model.training
    ids = torch.arange(8, device=model.device)[None] % model.get_input_embeddings().weight.shape[0]
    model.eval()
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits.float()
        hidden = model.base_model(input_ids=ids, use_cache=False)[0]
        found = head_only(model, hidden, scaling).float()
    model.train(training)
    largest = (
        float(expected[expected.isfinite()].abs().max()) if expected.isfinite().any() else 0.0
    )  # who scores with it meets NaN
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * largest, equal_nan=True)
