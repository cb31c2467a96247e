"""What the rules have to know of alignment methods without importing them."""

from __future__ import annotations

VECTOR_METHODS = ("relative", "vanilla", "sparse_codes", "tokalign_paper", "frequency")
"""Alignment methods that read the vectors of both tokenizers."""
