"""Let a model write text after prompts: diversity, repetition, self-BLEU, length."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of a model")
    parser.add_argument("--tokenizer", type=Path, help="folder of its tokenizer, where it is not in the model's folder")
    parser.add_argument(
        "--prompts", type=Path, required=True, help="items.parquet of a test set, or documents.parquet of the evaluation"
    )
    parser.add_argument(
        "--settings",
        type=cli.settings,
        required=True,
        help="JSON: testset (null for documents.parquet), prompts, prompt_characters, max_new_tokens, decodings, "
        "self_bleu_references, batch_tokens, document_start, precision, trust_remote_code",
    )
    parser.add_argument("--labels", type=cli.settings, default={}, help="JSON object copied into the result")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; its items go beside it (.parquet)")
    return parser


def main(args: argparse.Namespace) -> None:
    """Write text, measure it and write the result."""
    import torch
    from tokalign.generation_quality import GenerationSettings, evaluate

    torch.set_num_threads(args.threads)
    settings = GenerationSettings(**args.settings)
    evaluate(args.model, args.tokenizer or args.model, args.prompts, settings, args.labels, args.output)


if __name__ == "__main__":
    cli.run(main, arguments())
