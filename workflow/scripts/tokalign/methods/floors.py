"""Floors: what any method has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokalign.alignment import Rows, Side


def align_at_random(target: Side, source: Side, open_ids: np.ndarray, settings: dict[str, Any]) -> Rows:
    """Give each open target token the row of a source token drawn uniformly among the ordinary ones, with replacement.

    A token's draw depends on the seed and its id alone, not on which other tokens are open.

    Args:
        target: side that gets rows.
        source: side whose rows are used.
        open_ids: target ids without a row.
        settings: ``seed``.

    Returns:
        Rows of category ``random`` for all open tokens.
    """
    ordinary = np.flatnonzero([kind in ("text", "byte") for kind in source.vocabulary.kinds])
    draws = np.random.Generator(np.random.PCG64(settings["seed"])).integers(len(ordinary), size=target.vocabulary.size)
    return Rows.single(open_ids, ordinary[draws[open_ids]], "random")
