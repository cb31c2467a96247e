"""Answer multiple-choice questions with a model by log-likelihood: accuracy raw and normalized by the choices' length."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.model_parser(__doc__, "testsets, prompt, separator, batch_tokens, document_start, precision, trust_remote_code")
    parser.add_argument("--testsets", type=Path, nargs="+", required=True, help="items.parquet of each test set")
    return parser


def main(args: argparse.Namespace) -> None:
    """Answer and write."""
    import torch
    from tokalign.evaluation.suites.choices import ChoicesSettings, evaluate

    torch.set_num_threads(args.threads)
    evaluate(args.model, args.tokenizer or args.model, args.testsets, ChoicesSettings(**args.settings), args.labels, args.output)


if __name__ == "__main__":
    cli.run(main, arguments())
