"""Searches that methods share: nearest vectors, matching, pursuit, edit distance."""
