"""Translate parallel test sets with a model by prompts: BLEU, chrF++, TER, lengths and failures."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.model_parser(
        __doc__,
        "directions, prompt, shots, max_new_tokens, decodings, batch_tokens, document_start, precision, trust_remote_code",
    )
    parser.add_argument("--testsets", type=Path, nargs="+", required=True, help="items.parquet of each test set")
    return parser


def main(args: argparse.Namespace) -> None:
    """Translate, score and write."""
    import torch
    from tokalign.evaluation.suites.translation import TranslationSettings, evaluate

    torch.set_num_threads(args.threads)
    settings = TranslationSettings(**args.settings)
    evaluate(args.model, args.tokenizer or args.model, args.testsets, settings, args.labels, args.output)


if __name__ == "__main__":
    cli.run(main, arguments())
