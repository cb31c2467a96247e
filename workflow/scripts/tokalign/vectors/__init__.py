"""Vectors of tokens from their co-occurrences."""
