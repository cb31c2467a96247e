"""Arithmetic of the stages of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def stage_steps(stage: Mapping[str, Any]) -> int:
    """Return the optimizer steps of a stage of a recipe: as it states them, or as many as its ``tokens`` take."""
    return stage["steps"] or math.ceil(stage["tokens"] / stage["batch_tokens"])


def mixed_in(count: int, share: float | None) -> int:
    """Return how many of the first ``count`` sequences of a stage come from the corpus that is mixed in.

    They are spread evenly: sequence n is one of them where this number grows from n to n + 1.

    Args:
        count: sequences.
        share: of the corpus that is mixed in, 0 to 1; ``None`` for none.
    """
    return 0 if share is None else math.floor(count * share + 1e-9)
