"""Score a model on held-out documents: bits per byte and perplexity, by language and domain."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.model_parser(__doc__, "window, stride, batch_tokens, precision, document_start, trust_remote_code")
    parser.add_argument("--reference-tokenizer", type=Path, help="folder of the tokenizer whose tokens normalize perplexity")
    parser.add_argument("--documents", type=Path, required=True, help="documents.parquet of the evaluation")
    return parser


def main(args: argparse.Namespace) -> None:
    """Score and write."""
    import torch
    from tokalign.evaluation.suites.perplexity import PerplexitySettings, evaluate

    torch.set_num_threads(args.threads)
    evaluate(
        args.model, args.tokenizer or args.model, args.documents, PerplexitySettings(**args.settings), args.labels, args.output,
        args.reference_tokenizer,
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main, arguments())
