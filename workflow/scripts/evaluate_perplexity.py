"""Score a model on held-out documents: bits per byte and perplexity, by language and domain."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of a model")
    parser.add_argument("--tokenizer", type=Path, help="folder of its tokenizer, where it is not in the model's folder")
    parser.add_argument("--reference-tokenizer", type=Path, help="folder of the tokenizer whose tokens normalise perplexity")
    parser.add_argument("--documents", type=Path, required=True, help="documents.parquet of the evaluation")
    parser.add_argument(
        "--settings",
        type=cli.settings,
        required=True,
        help="JSON: window, stride, batch_tokens, precision, document_start, trust_remote_code",
    )
    parser.add_argument("--labels", type=cli.settings, default={}, help="JSON object copied into the result")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; its items go beside it (.parquet)")
    return parser


def main(args: argparse.Namespace) -> None:
    """Score and write."""
    import torch
    from tokalign.perplexity import PerplexitySettings, evaluate

    torch.set_num_threads(args.threads)
    evaluate(
        args.model, args.tokenizer or args.model, args.documents, PerplexitySettings(**args.settings), args.labels, args.output,
        args.reference_tokenizer,
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main, arguments())
