"""Measures of a tokenizer."""
