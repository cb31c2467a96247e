"""Tokenize one text shard of a corpus with one tokenizer."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.tokenizers.loading import load_backend
from tokalign.tokens.tokenize import tokenize_shard


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--text", type=Path, required=True, help="Parquet shard of documents")
    parser.add_argument("--tokenizer", type=Path, required=True, help="resolved tokenizer folder")
    parser.add_argument("--output", type=Path, required=True, help="Arrow file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Tokenize the shard."""
    tokenize_shard(args.text, load_backend(args.tokenizer), args.output)


if __name__ == "__main__":
    cli.run(main, arguments())
