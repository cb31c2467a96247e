"""Measure a tokenizer on tokenized validation documents and, for parity between languages, on a parallel test set."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.suites import TokenizerSettings
from tokalign.evaluation.suites.tokenizer.metrics import evaluate_tokenizer


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--shard", type=Path, required=True, help="validation.arrow of the tokenizer")
    parser.add_argument("--vocabulary", type=Path, required=True, help="vocabulary.parquet of the tokenizer")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--testset", type=Path, help="items.parquet of a parallel test set")
    cli.add_settings(parser, TokenizerSettings)
    parser.add_argument("--labels", type=cli.settings, default={}, help="JSON object copied into the result")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; its items go beside it (.parquet)")
    return parser


def main(args: argparse.Namespace) -> None:
    """Measure and write."""
    evaluate_tokenizer(args.shard, args.vocabulary, args.tokenizer, args.settings, args.labels, args.output, args.testset)


if __name__ == "__main__":
    cli.run(main, arguments())
