"""Rows of the new embedding from an alignment, and the checkpoint that holds them."""
