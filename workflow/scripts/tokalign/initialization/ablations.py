"""TokAlign's ablations of the initialization: random rows replace some or all of the aligned ones.

Source: ``-r``, ``random_permute``, ``random_initial_all`` and ``random_initial_aug`` of TokAlign's ``convert.py`` (Li et al.
2025, the ablation of the alignment matrix); all are seeded here.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tokalign.alignment.fills import FILLS
from tokalign.alignment.matrix import StoredAlignment
from tokalign.config.alignments import AblationSettings

WHOLE_ROWS = ("random_all", "random_aug")
"""Ablations that ignore the alignment."""

MEANING = {
    "none": "no ablation",
    "shuffle": "each row replaced, with probability `share`, by that of a random source token, the same for both embeddings",
    "permutation": "every row that of a random source token, drawn with replacement, the same for both embeddings",
    "random_all": "every row drawn from the distribution that the model's weights were initialized from",
    "random_aug": "rows kept where the ids coincide, whatever tokens they stand for; rows of further ids drawn",
}
"""Descriptions recorded beside the checkpoint."""


def replaced_rows(settings: AblationSettings, targets: int) -> NDArray[np.bool_]:
    """Return which target tokens get the row of a random source token, bool, shape (targets,)."""
    if settings.kind == "permutation":
        return np.ones(targets, bool)
    if settings.kind == "shuffle":
        return np.random.default_rng([settings.seed, 0]).random(targets) < settings.share
    return np.zeros(targets, bool)


def ablated(alignment: StoredAlignment, settings: AblationSettings) -> tuple[StoredAlignment, NDArray[np.bool_]]:
    """Replace rows of an alignment by single random source tokens, drawn uniformly.

    Args:
        alignment: A, shape (|V_target|, |V_source|).
        settings: the kinds ``shuffle`` and ``permutation`` replace rows.

    Returns:
        The alignment with the replaced rows, and which rows were replaced, bool, shape (|V_target|,).
    """
    targets, sources = alignment.matrix.shape
    chosen = replaced_rows(settings, targets)
    if not chosen.any():
        return alignment, chosen
    random = np.random.default_rng([settings.seed, 1]).integers(sources, size=targets)
    keep = sparse.diags_array((~chosen).astype(np.float32))
    ones = np.flatnonzero(chosen)
    single = sparse.csr_matrix((np.ones(len(ones), np.float32), (ones, random[ones])), shape=(targets, sources))

    def matrix(old: sparse.csr_matrix) -> sparse.csr_matrix:
        new = sparse.csr_matrix(keep @ old) + single
        new.eliminate_zeros()
        return sparse.csr_matrix(new, dtype=np.float32)

    fill = np.where(chosen, FILLS["none"], alignment.fill).astype(np.int8)
    output = None if alignment.output is None else matrix(alignment.output)
    return dataclasses.replace(alignment, matrix=matrix(alignment.matrix), output=output, fill=fill), chosen
