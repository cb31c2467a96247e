"""The alignment methods.

A new method is one function with the signature ``Method`` and one line here.
"""

from __future__ import annotations

from tokalign.alignment.align import Method
from tokalign.alignment.methods.baselines import (
    align_at_random,
    align_by_frequency,
    align_by_permutation,
    fill_with_mean,
    fill_with_normal,
    fill_with_zero,
)
from tokalign.alignment.methods.decomposition import align_by_decomposition
from tokalign.alignment.methods.imported import align_by_import
from tokalign.alignment.methods.mined import align_by_edit_distance
from tokalign.alignment.methods.overlap import align_by_bytes, align_by_role
from tokalign.alignment.methods.relative import align_by_relative_representation
from tokalign.alignment.methods.sparse_codes import align_by_sparse_codes
from tokalign.alignment.methods.tokalign_paper import align_as_published
from tokalign.alignment.methods.vanilla import align_by_vectors

METHODS: dict[str, Method] = {
    "special": align_by_role,
    "exact": align_by_bytes,
    "imported": align_by_import,
    "tokalign_paper": align_as_published,
    "relative": align_by_relative_representation,
    "vanilla": align_by_vectors,
    "sparse_codes": align_by_sparse_codes,
    "mined": align_by_edit_distance,
    "decomposed": align_by_decomposition,
    "mean": fill_with_mean,
    "normal": fill_with_normal,
    "zero": fill_with_zero,
    "random": align_at_random,
    "permutation": align_by_permutation,
    "frequency": align_by_frequency,
}
