"""Peer: `mergekit-tokensurgeon` with the methods that need no donor model trained with the target tokenizer.

tokensurgeon copies the rows of tokens that both vocabularies spell alike (after unifying word starts and special tokens)
and approximates the others. It takes the target tokenizer from a donor *model*; the methods here never use
that model's embeddings, so the donor is a random Llama of width four, with as many rows as the tokenizer has ids. All options
of tokensurgeon not named in METHODS keep their defaults. `common_interpolation`, `omp` (its default),
`landmark_pca`, `stb` and `mp_rope` read the donor's embeddings and are left out: with random ones they would be noise.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checkpoint import copy_tokenizer, load_model, options, rows_needed, special_ids, write_checkpoint
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

METHODS = {
    "subword": ["--approximation-method", "subword"],
    "subword_sum": ["--approximation-method", "subword", "--subword-method", "sum"],
    "subword_weighted_mean": ["--approximation-method", "subword", "--subword-method", "weighted_mean"],
    "subword_first_last": ["--approximation-method", "subword", "--subword-method", "first_last"],
    "subword_prefix": ["--approximation-method", "subword", "--prefix-match", "yes", "--byte-match", "yes"],
    "mean": ["--approximation-method", "mean"],
    "zero": ["--approximation-method", "zero"],
    "randn": ["--approximation-method", "randn"],
    "john_hewitt": ["--approximation-method", "john_hewitt", "--batch-size", "-1"],
}
"""Options of tokensurgeon by name of the method.

`john_hewitt` draws all rows at once: with batches it would recompute the covariance of the source rows for each.
"""

WORD_START = "▁"
SENTENCEPIECE_TOKENS = 100
"""A vocabulary with more tokens than this that begin with `▁` is SentencePiece-like."""


def write_donor(tokenizer_folder: Path, folder: Path) -> None:
    """Save a random model with the target tokenizer, as tokensurgeon needs it.

    mergekit infers the spelling of word starts (`Ġ` or `▁`) from the tokenizer's class, so a SentencePiece-like tokenizer
    saved under transformers' generic class would share almost no word with the source: it gets the class LlamaTokenizer.
    Only the vocabulary is read from this copy; the checkpoint gets the tokenizer's own files.
    """
    copy_tokenizer(tokenizer_folder, folder)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    vocabulary = tokenizer.get_vocab()
    if sum(token.startswith(WORD_START) for token in vocabulary) > SENTENCEPIECE_TOKENS:
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.pop("backend", None)
        path.write_text(json.dumps(settings | {"tokenizer_class": "LlamaTokenizer"}), encoding="utf-8")
        if AutoTokenizer.from_pretrained(folder).get_vocab() != vocabulary:
            sys.exit(f"{tokenizer_folder}: read as a LlamaTokenizer, it has another vocabulary")
    config = LlamaConfig(
        vocab_size=rows_needed(tokenizer),
        hidden_size=4,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        tie_word_embeddings=False,
        **special_ids(tokenizer),
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def main() -> None:
    """Run tokensurgeon and write its model as a checkpoint folder."""
    started = time.monotonic()
    arguments = options(__doc__.splitlines()[0], list(METHODS))
    with tempfile.TemporaryDirectory(prefix="tokensurgeon-") as work:
        donor, result = Path(work, "donor"), Path(work, "result")
        write_donor(arguments.tokenizer, donor)
        flags = [*METHODS[arguments.method], "--random-seed", str(arguments.seed), "-v"]
        places = [str(arguments.model.resolve()), str(donor), str(result)]
        subprocess.run([sys.executable, "-m", "mergekit.scripts.tokensurgeon", *places, *flags], check=True)
        model = load_model(result)
        write_checkpoint(model, arguments, packages=("mergekit",), started=started, notes={"options": flags})


if __name__ == "__main__":
    main()
