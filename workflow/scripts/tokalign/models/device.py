"""Precision and attention that suit the device of a job, and its peak memory."""

from __future__ import annotations

import importlib.util
import resource
import sys

import torch


def has_bfloat16() -> bool:
    """Return whether the device multiplies bfloat16 in hardware.

    True for a GPU from Ampere on, and for a CPU with AVX512-BF16 or AMX.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def choose_precision(wanted: str) -> str:
    """Return ``bfloat16`` or ``float32``: as wanted; ``auto`` depends on the device."""
    return wanted if wanted != "auto" else "bfloat16" if has_bfloat16() else "float32"


def choose_attention(wanted: str, precision: str) -> str:
    """Return an attention implementation: as wanted; ``auto`` is flash attention if package, GPU and bfloat16 allow it.

    Args:
        wanted: ``auto``, ``sdpa``, ``flash_attention_2`` or ``eager``.
        precision: ``bfloat16`` or ``float32``.
    """
    if wanted != "auto":
        return wanted
    flash = torch.cuda.is_available() and precision == "bfloat16" and importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if flash else "sdpa"


def peak_memory(device: torch.device) -> int:
    """Return the peak memory of this process on its GPU, else in the machine [bytes]."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
