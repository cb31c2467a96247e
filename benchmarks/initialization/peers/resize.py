"""Peer: transformers' `resize_token_embeddings`, which keeps rows by id and only changes the vocabulary size.

Row i of the new model is row i of the old one, whatever its token; only rows past the old vocabulary are new.
Methods: `mean_resizing` (transformers' default: from a normal distribution with the mean of the old rows and 1e-9 of
their covariance, Hewitt 2021) and `initializer` (mean_resizing=False: as the model's own weights were initialized).
A smaller target vocabulary has no new rows: both methods then cut the old matrix and give the same model.
"""

from __future__ import annotations

import time

import torch
from checkpoint import load_model, options, rows_needed, write_checkpoint
from transformers import AutoTokenizer

METHODS = ("mean_resizing", "initializer")


def main() -> None:
    """Resize the embeddings of a model to a tokenizer's vocabulary."""
    started = time.monotonic()
    arguments = options(__doc__.splitlines()[0], METHODS)
    torch.manual_seed(arguments.seed)
    model = load_model(arguments.model)
    old = model.get_input_embeddings().weight.shape[0]
    new = rows_needed(AutoTokenizer.from_pretrained(arguments.tokenizer))
    model.resize_token_embeddings(new, mean_resizing=arguments.method == "mean_resizing")
    write_checkpoint(model, arguments, packages=(), started=started, notes={"rows_kept": min(old, new)})


if __name__ == "__main__":
    main()
