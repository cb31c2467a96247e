"""Steps and corpus mixture of the stages of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def stage_steps(stage: Mapping[str, Any]) -> int:
    """Return the optimizer steps of a stage: its ``steps``, or as many as its ``tokens`` need."""
    return stage["steps"] or math.ceil(stage["tokens"] / stage["batch_tokens"])


def mixed_in(count: int, share: float | None) -> int:
    """Return how many of the first ``count`` sequences of a stage come from the mixed-in corpus.

    They are spread evenly: sequence n is one of them if this number grows from n to n + 1.

    Args:
        count: number of sequences.
        share: share of the mixed-in corpus, 0 to 1; ``None`` if there is none.
    """
    return 0 if share is None else math.floor(count * share + 1e-9)
