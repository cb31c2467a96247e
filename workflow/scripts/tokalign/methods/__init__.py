"""The alignment methods. A new method is one function with the signature ``Method`` and one line here."""

from __future__ import annotations

from tokalign.alignment import Method
from tokalign.methods.decomposition import align_by_decomposition
from tokalign.methods.floors import align_at_random
from tokalign.methods.overlap import align_by_bytes, align_by_role
from tokalign.methods.relative import align_by_relative_representation

METHODS: dict[str, Method] = {
    "special": align_by_role,
    "exact": align_by_bytes,
    "relative": align_by_relative_representation,
    "decomposed": align_by_decomposition,
    "random": align_at_random,
}
