"""Train a byte-level BPE tokenizer on the training shards of a corpus.

--settings {"vocabulary_size": ..., "min_frequency": ..., "digits": ..., "max_bytes": ..., "special_tokens": {role: token}}
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.tokenizers.bpe import BpeSettings, read_texts, train_bpe
from tokalign.tokenizers.resolve import save_tokenizer


def arguments() -> argparse.ArgumentParser:
    """Return the options of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--settings", type=cli.settings, required=True, help="the train block and special_tokens")
    parser.add_argument("--text", type=Path, required=True, help="folder with train-*.parquet")
    parser.add_argument("--hf", type=Path, required=True, help="folder for AutoTokenizer.from_pretrained")
    parser.add_argument("--vocabulary", type=Path, required=True, help="parquet: one row per id")
    parser.add_argument("--info", type=Path, required=True, help="JSON: size, roles, sha256, source")
    return parser


def main(args: argparse.Namespace) -> None:
    """Train one tokenizer."""
    settings = dict(args.settings)
    bpe = BpeSettings(
        vocabulary_size=settings["vocabulary_size"],
        min_frequency=settings["min_frequency"],
        digits=settings["digits"],
        special_tokens=settings.pop("special_tokens"),
    )
    texts = read_texts(args.text.glob("train-*.parquet"), settings["max_bytes"])
    tokenizer = train_bpe(texts, bpe)
    save_tokenizer(tokenizer, {"train": settings}, "trained tokenizer", args.hf, args.vocabulary, args.info)


if __name__ == "__main__":
    cli.run(main, arguments())
