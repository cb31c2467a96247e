"""Let a model write text after prompts: diversity, repetition, self-BLEU, length."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.model_parser(
        __doc__,
        "testset (null for documents.parquet), prompts, prompt_characters, max_new_tokens, decodings, "
        "self_bleu_references, batch_tokens, document_start, precision, trust_remote_code",
    )
    parser.add_argument(
        "--prompts", type=Path, required=True, help="items.parquet of a test set, or documents.parquet of the evaluation"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Write text, measure it and write the result."""
    import torch
    from tokalign.evaluation.suites.generation import GenerationSettings, evaluate

    torch.set_num_threads(args.threads)
    settings = GenerationSettings(**args.settings)
    evaluate(args.model, args.tokenizer or args.model, args.prompts, settings, args.labels, args.output)


if __name__ == "__main__":
    cli.run(main, arguments())
