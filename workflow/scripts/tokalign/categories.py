"""How a target token's row can have been found; apart from the alignment, so that tables and figures need none of its packages."""

CATEGORIES = ("special", "exact", "imported", "aligned", "mined", "decomposed", "mean", "normal", "zero", "random")

VECTOR_METHODS = ("relative", "vanilla", "sparse_codes", "tokalign_paper", "frequency")
"""Alignment methods that read the vectors of both tokenizers."""
