"""Peer: FOCUS (Dobler & de Melo 2023) as in its authors' package `deepfocus`.

Rows of tokens in both vocabularies are copied; each other row is a sparse average of those, weighted by the similarity of
fastText vectors trained on the corpus, split by the target tokenizer. Tokens that occur fewer than ten times in the corpus
get a row from a normal distribution. Methods: `focus` (the package's defaults: exact matches, fastText vectors of
100 dimensions, 3 epochs, at least 10 occurrences), `focus_300` (300 dimensions, as in the paper) and `focus_fuzzy`
(matches that ignore case and white space). fastText runs in one thread, so that runs are repeatable.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

import torch
from checkpoint import load_model, options, rows_needed, write_checkpoint
from transformers import AutoTokenizer, PreTrainedTokenizerBase

METHODS = {"focus": {}, "focus_300": {"fasttext_model_dim": 300}, "focus_fuzzy": {"fuzzy_match_all": True}}
"""Arguments of `deepfocus.FOCUS` by name of the method."""


def new_rows(
    rows: torch.Tensor, arguments: argparse.Namespace, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase
) -> torch.Tensor:
    """Return the FOCUS embeddings of the target vocabulary.

    Args:
        rows: embeddings of the source vocabulary, float32, shape (rows, dimensions).
        arguments: the peer's options.
        source: tokenizer of the source model.
        target: the target tokenizer.

    Returns:
        float32, shape (ids of the target, dimensions).
    """
    from deepfocus import FOCUS

    return FOCUS(
        target_tokenizer=target,
        source_tokenizer=source,
        source_embeddings=rows,
        target_training_data_path=str(arguments.corpus.resolve()),
        processes=1,
        seed=arguments.seed,
        **METHODS[arguments.method],
    )


def main() -> None:
    """Give a model a new vocabulary with FOCUS."""
    started = time.monotonic()
    arguments = options(__doc__.splitlines()[0], list(METHODS), corpus=True)
    torch.manual_seed(arguments.seed)
    model = load_model(arguments.model)
    source, target = (AutoTokenizer.from_pretrained(folder) for folder in (arguments.model, arguments.tokenizer))
    if len(target) != rows_needed(target):
        raise SystemExit(f"{arguments.tokenizer}: FOCUS wants ids without gaps; {len(target)} tokens, {rows_needed(target)} ids")
    with tempfile.TemporaryDirectory(prefix="focus-") as cache:
        # deepfocus names its cached fastText model by the corpus's path, not its content, so the cache must start empty
        os.environ |= {"XDG_CACHE_HOME": cache, "HF_DATASETS_CACHE": str(Path(cache, "datasets"))}
        embedding = new_rows(model.get_input_embeddings().weight.detach(), arguments, source, target)
        head = None
        if not model.config.tie_word_embeddings:
            head = new_rows(model.get_output_embeddings().weight.detach(), arguments, source, target)
    model.resize_token_embeddings(len(target), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(embedding)
        if head is not None:
            model.get_output_embeddings().weight.copy_(head)
    digest = hashlib.sha256(arguments.corpus.read_bytes()).hexdigest()
    notes = {"arguments": METHODS[arguments.method], "corpus_sha256": digest, "corpus_bytes": arguments.corpus.stat().st_size}
    write_checkpoint(model, arguments, packages=("deepfocus", "fasttext"), started=started, notes=notes)


if __name__ == "__main__":
    main()
