"""Train a byte-level BPE tokenizer on the training shards of a corpus."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.tokenizers import TrainedSettings
from tokalign.tokenizers.bpe import read_texts, train_bpe
from tokalign.tokenizers.resolve import save_tokenizer


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, TrainedSettings)
    parser.add_argument("--text", type=Path, required=True, help="folder with train-*.parquet")
    parser.add_argument("--hf", type=Path, required=True, help="folder for AutoTokenizer.from_pretrained")
    parser.add_argument("--vocabulary", type=Path, required=True, help="parquet: one row per id")
    parser.add_argument("--info", type=Path, required=True, help="JSON: size, roles, sha256, source")
    return parser


def main(args: argparse.Namespace) -> None:
    """Train one tokenizer."""
    settings = args.settings
    texts = read_texts(args.text.glob("train-*.parquet"), settings.max_bytes)
    tokenizer = train_bpe(texts, settings, settings.special_tokens)
    save_tokenizer(
        tokenizer, {"train": settings.plain("special_tokens")}, "trained tokenizer", args.hf, args.vocabulary, args.info
    )


if __name__ == "__main__":
    cli.run(main, arguments())
