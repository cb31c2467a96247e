"""Use of the device by a training: operations per token, and the peak rate of the device."""

from __future__ import annotations

import functools
import time

import torch
from transformers import PreTrainedModel

from tokalign.cluster.gpus import known_gpu, peak_flops
from tokalign.models.loading import embeddings


def operations_per_token(model: PreTrainedModel) -> float:
    """Return the floating point operations of a training step per token, without recomputation and attention scores.

    Two for each weight of a matrix that a token passes in the forward pass (the LM head counts, the look-up in the input
    embedding does not), two for the gradient of its input, and two for the gradient of the weight if it is trained (Kaplan et al.
    2020, section 2.1: 6 N if everything is trained).

    Args:
        model: with ``requires_grad`` set on trained parameters.
    """
    first, _, tied = embeddings(model)
    count = 0
    for parameter in model.parameters():
        looked_up = parameter is first.weight and not tied
        if parameter.dim() >= 2 and not looked_up:
            count += parameter.numel() * (4 + 2 * parameter.requires_grad)
    return float(count)


def peak_operations(device: torch.device, precision: str) -> tuple[float, str]:
    """Return the peak operations per second of a device, and the source of the number.

    Known GPUs have their maker's number for bfloat16; on anything else a product of matrices is timed.

    Args:
        device: device of the training.
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
