"""Measure speed, latency and memory of a model that reads and writes text."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of a model")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of its tokenizer")
    parser.add_argument("--documents", type=Path, required=True, help="documents.parquet of the evaluation")
    parser.add_argument(
        "--settings",
        type=cli.settings,
        required=True,
        help="JSON: batch_sizes, prompt_bytes, new_bytes, warmup, repetitions, precision, trust_remote_code",
    )
    parser.add_argument("--labels", type=cli.settings, default={}, help="JSON object copied into the result")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; its items go beside it (.parquet)")
    return parser


def main(args: argparse.Namespace) -> None:
    """Measure and write."""
    import torch
    from tokalign.efficiency import EfficiencySettings, evaluate

    torch.set_num_threads(args.threads)
    evaluate(args.model, args.tokenizer, args.documents, EfficiencySettings(**args.settings), args.labels, args.output)


if __name__ == "__main__":
    cli.run(main, arguments())
