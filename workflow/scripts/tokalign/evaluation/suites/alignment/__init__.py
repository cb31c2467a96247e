"""Scores of an alignment on held-out text, without a model."""
