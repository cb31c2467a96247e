"""Peak speed and memory of known GPUs, by their names in Slurm and CUDA."""

from __future__ import annotations

import re
from collections.abc import Mapping

CPU_THREAD_FLOPS = 1e11
"""Peak of one CPU thread; times ``UTILIZATION`` it is half of what the demo reaches in bfloat16."""


# Dense peaks [10**12 operations per second] without sparsity, from the vendors' data sheets: bfloat16 (V100: float16), float32.
PEAKS: Mapping[str, tuple[float, float]] = {
    "v100": (125, 15.7),
    "a10": (125, 31.2),
    "a40": (150, 37.4),
    "a100": (312, 19.5),
    "l4": (121, 30.3),
    "l40s": (362, 91.6),
    "rtx4090": (165, 82.6),
    "h100": (989, 67),
    "h200": (989, 67),
    "gh200": (989, 67),
    "b200": (2250, 80),
    "mi250x": (383, 47.9),
    "mi300x": (1307, 163.4),
}


# Memory by GPU model [GB]; the smallest size if a model has several.
GPU_GB: Mapping[str, int] = {
    "v100": 16,
    "a10": 24,
    "a40": 48,
    "a100": 40,
    "l4": 24,
    "l40s": 48,
    "rtx4090": 24,
    "h100": 80,
    "h200": 141,
    "gh200": 96,
    "b200": 180,
    "mi250x": 128,
    "mi300x": 192,
}


UNKNOWN_GPU = "a100"
"""Model whose speed is assumed if the GPU is unknown."""


def peak_flops(gpu: str | None, precision: str, threads: int = 8) -> float:
    """Return the peak of one device in operations per second.

    Args:
        gpu: model of the GPU as Slurm names it, such as ``h100`` or ``nvidia_a100-sxm4-80gb``; ``None`` for a CPU.
        precision: ``float32``; any other value means the 16-bit peak.
        threads: threads of the CPU.
    """
    if gpu is None:
        return threads * CPU_THREAD_FLOPS
    half, single = PEAKS[known_gpu(gpu) or UNKNOWN_GPU]
    return 1e12 * (single if precision == "float32" else half)


def known_gpu(name: str) -> str | None:
    """Return the key of ``PEAKS`` for a Slurm name, or ``None``: ``nvidia_a100-sxm4-80gb`` is ``a100``."""
    plain = re.sub(r"geforce|nvidia|amd|instinct", "", name.lower())
    words = [*re.split(r"[^a-z0-9]+", plain), re.sub(r"[^a-z0-9]", "", plain)]
    return next((model for model in sorted(PEAKS, key=len, reverse=True) if model in words), None)
