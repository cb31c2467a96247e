"""Where models, tokenizers and data sets come from."""
