"""Searches shared by the methods: nearest vectors, matching, pursuit, edit distance."""
