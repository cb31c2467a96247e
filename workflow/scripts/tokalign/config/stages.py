"""Arithmetic of the stages of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def stage_steps(stage: Mapping[str, Any]) -> int:
    """Return the optimizer steps of a stage of a recipe: as it states them, or as many as its ``tokens`` take."""
    return stage["steps"] or math.ceil(stage["tokens"] / stage["batch_tokens"])
