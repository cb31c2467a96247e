"""How well a training uses its device: operations per token, and the rate that the device could reach."""

from __future__ import annotations

import functools
import time

import torch
from transformers import PreTrainedModel

from tokalign.cluster.gpus import known_gpu, peak_flops
from tokalign.models.loading import embeddings


def operations_per_token(model: PreTrainedModel) -> float:
    """Return the floating point operations of a training step per token, without recomputation and attention scores.

    Two for each weight of a matrix that a token meets in the forward pass (the input embedding is a look-up, the LM head is not), two for
    the gradient of what goes through it, and two for the gradient of the weight where it is trained (Kaplan et al. 2020, section
    2.1: 6 N in all where everything is trained).

    Args:
        model: with ``requires_grad`` set on what is trained.
    """
    first, _, tied = embeddings(model)
    count = 0
    for parameter in model.parameters():
        looked_up = parameter is first.weight and not tied
        if parameter.dim() >= 2 and not looked_up:
            count += parameter.numel() * (4 + 2 * parameter.requires_grad)
    return float(count)


def peak_operations(device: torch.device, precision: str) -> tuple[float, str]:
    """Return the operations per second that a device can do, and where the number is from.

    A known GPU has its maker's number for bfloat16; on anything else a product of matrices is timed.

    Args:
        device: of the training.
        precision: ``bfloat16`` or ``float32``.
    """
    if device.type == "cuda" and precision == "bfloat16":
        name = known_gpu(torch.cuda.get_device_name(device))
        if name:
            return peak_flops(name, precision), f"{name}, as its maker states"
    size = 4096 if device.type == "cuda" else 1024
    return timed_operations(device, precision, size), f"{size} x {size} matrices of {precision}, timed"


@functools.cache
def timed_operations(device: torch.device, precision: str, size: int) -> float:
    """Return the operations per second of the fastest of a few products of square matrices."""
    left, right = (torch.ones((size, size), dtype=getattr(torch, precision), device=device) for _ in range(2))
    fastest = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * size**3 / fastest
