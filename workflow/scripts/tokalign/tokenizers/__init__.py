"""Tokenizers: loading, canonical bytes of their tokens, training."""
