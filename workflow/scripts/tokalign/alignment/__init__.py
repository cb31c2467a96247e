"""Alignments: the matrix A of source tokens for each target token, and how it is found."""
