"""Make the initialised checkpoint: E' = A @ E for input and output embeddings, with the target tokenizer."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign import cli
from tokalign.alignment import read_matrix
from tokalign.files import atomic_directory, read_json
from tokalign.initialisation import initialise, load_model
from tokalign.tokens import load_tokenizer


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="resolved source model")
    parser.add_argument("--alignment", type=Path, required=True, help="matrix of the alignment")
    parser.add_argument("--tokenizer", type=Path, required=True, help="resolved target tokenizer")
    parser.add_argument("--tokenizer-info", type=Path, required=True, help="its info.json")
    parser.add_argument("--settings", type=cli.settings, required=True, help="trust_remote_code")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Initialise and save."""
    model = load_model(args.model, **args.settings)
    initialise(model, read_matrix(args.alignment), read_json(args.tokenizer_info)["roles"])
    tokenizer = load_tokenizer(args.tokenizer)
    with atomic_directory(args.output) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    cli.run(main, arguments())
