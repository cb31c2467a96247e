"""Commands of the phase tokenizers."""
