"""Measure speed, latency and memory of a model that reads and writes text."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.model_parser(__doc__, "batch_sizes, prompt_bytes, new_bytes, warmup, repetitions, precision, trust_remote_code")
    parser.add_argument("--documents", type=Path, required=True, help="documents.parquet of the evaluation")
    return parser


def main(args: argparse.Namespace) -> None:
    """Measure and write."""
    import torch
    from tokalign.evaluation.suites.efficiency import EfficiencySettings, evaluate

    torch.set_num_threads(args.threads)
    evaluate(
        args.model, args.tokenizer or args.model, args.documents, EfficiencySettings(**args.settings), args.labels, args.output
    )


if __name__ == "__main__":
    cli.run(main, arguments())
