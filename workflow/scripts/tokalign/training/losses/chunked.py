"""Cross-entropy of a large vocabulary without the matrix of all logits (tokens x vocabulary).

The LM head and the cross-entropy are one function. It goes through the tokens in chunks: it computes the logits of a chunk, takes
the loss from them and, in the same pass, the gradients of hidden states and head (softmax minus one-hot, times head and hidden
states), and drops them. So each logit is computed once, and memory is bounded by a chunk. The idea is that of cut cross-entropy
(Wijmans et al. 2025) and of Liger's fused linear cross-entropy (Hsu et al. 2024), which is used instead on request.
"""

from __future__ import annotations

import logging
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from tokalign.common.errors import ConfigurationError
from tokalign.models.lm_head import LogitScaling, explains_logits

log = logging.getLogger(__name__)

CHUNK_BYTES = 2**27
"""Size of the float32 logits of a chunk; about three times as much is in use at once."""
IGNORED = -100
UNSCALED = LogitScaling(1.0, None)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies of some tokens; the forward pass computes the gradients."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, labels, scaling, rows):
        with_hidden, with_weight, with_bias = ctx.needs_input_grad[:3]
        kind = torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else weight.dtype
        with torch.autocast(hidden.device.type, enabled=False):
            head = weight.to(kind)
            total = torch.zeros((), dtype=torch.float64 if hidden.device.type == "cpu" else torch.float32, device=hidden.device)
            grad_hidden = torch.zeros_like(hidden) if with_hidden else None
            grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if with_weight else None
            grad_bias = torch.zeros(bias.shape, dtype=torch.float32, device=bias.device) if with_bias else None
            for begin in range(0, len(labels), rows):
                some = slice(begin, begin + rows)
                states, targets = hidden[some].to(kind), labels[some]
                logits = functional.linear(states, head, None if bias is None else bias.to(kind)).float()
                if scaling.factor != 1:
                    logits *= scaling.factor
                if scaling.cap is not None:
                    logits = torch.tanh_(logits.div_(scaling.cap)).mul_(scaling.cap)
                norm = torch.logsumexp(logits, dim=-1, keepdim=True)
                total += (norm - logits.gather(1, targets[:, None])).sum()
                if not (with_hidden or with_weight or with_bias):
                    continue
                slope = None if scaling.cap is None else 1 - (logits / scaling.cap) ** 2
                gradient = logits.sub_(norm).exp_()
                gradient[torch.arange(len(targets), device=targets.device), targets] -= 1
                if slope is not None:
                    gradient *= slope
                if scaling.factor != 1:
                    gradient *= scaling.factor
                if with_bias:
                    grad_bias += gradient.sum(0)
                gradient = gradient.to(kind)
                if with_hidden:
                    grad_hidden[some] = (gradient @ head).to(hidden.dtype)
                if with_weight:
                    if kind == torch.float32:
                        grad_weight.addmm_(gradient.T, states)
                    else:
                        grad_weight += gradient.T @ states
        ctx.gradients = grad_hidden, grad_weight, grad_bias
        ctx.kinds = weight.dtype, None if bias is None else bias.dtype
        return total.float()

    @staticmethod
    def backward(ctx, outer):
        grad_hidden, grad_weight, grad_bias = ctx.gradients
        ctx.gradients = None
        if grad_hidden is not None:
            grad_hidden = grad_hidden.mul_(outer)
        if grad_weight is not None:
            grad_weight = grad_weight.mul_(outer).to(ctx.kinds[0])
        if grad_bias is not None:
            grad_bias = grad_bias.mul_(outer).to(ctx.kinds[1])
        return grad_hidden, grad_weight, grad_bias, None, None, None


def chunked_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    scaling: LogitScaling = UNSCALED,
    chunk_bytes: int = CHUNK_BYTES,
) -> torch.Tensor:
    """Return the summed cross-entropy of tokens under an LM head, without the matrix of all logits.

    Args:
        hidden: final hidden states, shape (n, d).
        weight: weight of the LM head, shape (V, d).
        labels: target ids, int64, shape (n,); ``IGNORED`` ones add no loss, and their logits are not computed.
        bias: bias of the LM head, shape (V,).
        scaling: scaling of the logits.
        chunk_bytes: size of the float32 logits that exist at a time.

    Returns:
        Nats, float32, a scalar.
    """
    kept = labels != IGNORED
    rows = max(1, chunk_bytes // (4 * weight.shape[0]))
    return _ChunkedCrossEntropy.apply(hidden[kept], weight, bias, labels[kept], scaling, rows)


def _fused_cross_entropy(hidden, weight, labels, *, bias, scaling):
    """Return the same as :func:`chunked_cross_entropy`, from the kernel of liger-kernel on a GPU."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    if scaling.factor != 1:
        hidden = hidden * scaling.factor
    loss = LigerFusedLinearCrossEntropyLoss(ignore_index=IGNORED, reduction="sum", softcap=scaling.cap)
    return loss(weight, hidden, labels, bias)


LOSSES = {"chunked": chunked_cross_entropy, "fused": _fused_cross_entropy}


def install(model: PreTrainedModel, kind: str) -> str:
    """Make a model compute its training loss in chunks: ``model(input_ids, labels=...)`` returns only the loss.

    The forward pass of the LM head itself computes the loss, so that module hooks (ZeRO-3 gathers weights in them) see the head
    in use. Without labels the model still returns logits.

    Args:
        model: changed in place.
        kind: ``chunked``, ``fused`` (package liger-kernel, GPU), ``plain`` (nothing is changed), or ``auto``: fused if package
            and GPU are available, else chunked; plain for an architecture whose logits are not head times hidden state.

    Returns:
        The choice: ``chunked``, ``fused`` or ``plain``.

    Raises:
        ConfigurationError: ``chunked`` or ``fused`` is wanted, but the architecture or the machine does not support it.
    """
    if kind == "plain":
        return kind
    if not explains_logits(model):
        if kind != "auto":
            raise ConfigurationError(
                f"loss: {kind}",
                found=f"{type(model).__name__}, whose logits are not LM head times last hidden state",
                expected="plain for this architecture",
                mend="set loss: plain (or auto, which chooses it) in the stage",
            )
        log.warning("%s: logits are not LM head times last hidden state; the loss is computed in one piece", type(model).__name__)
        return "plain"
    if kind in ("auto", "fused"):
        there = has_fused_kernel()
        if kind == "fused" and not there:
            raise ConfigurationError(
                "loss: fused",
                found="no GPU, or the package liger-kernel is not installed",
                expected="both",
                mend="install liger-kernel in the training environment, or set loss: chunked",
            )
        kind = "fused" if there else "chunked"
    whole, scaling, compute = model.forward, LogitScaling.of(model.config), LOSSES[kind]
    head = model.get_output_embeddings()
    product = head.forward

    def head_forward(self: nn.Module, hidden: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        if labels is None:
            return product(hidden)
        return compute(hidden, self.weight, labels, bias=getattr(self, "bias", None), scaling=scaling)

    def forward(
        self: PreTrainedModel,
        input_ids: torch.Tensor,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **inputs: Any,
    ) -> Any:
        if labels is None:
            return whole(input_ids=input_ids, **inputs)
        hidden = self.base_model(input_ids=input_ids, **{**inputs, "use_cache": False})[0]
        targets = labels[:, 1:].reshape(-1)
        total = head(hidden[:, :-1].reshape(-1, hidden.shape[-1]), targets)
        return CausalLMOutput(loss=total / ((targets != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch))

    head.forward = MethodType(head_forward, head)
    model.forward = MethodType(forward, model)
    return kind


def has_fused_kernel() -> bool:
    """Return whether Liger's kernel can be used here."""
    if not torch.cuda.is_available():
        return False
    try:
        import liger_kernel  # noqa: F401
    except ImportError:
        return False
    return True


def uninstall(model: PreTrainedModel) -> None:
    """Restore the model's own forward pass."""
    for module in (model, model.get_output_embeddings()):
        module.__dict__.pop("forward", None)
