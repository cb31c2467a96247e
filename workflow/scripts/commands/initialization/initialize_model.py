"""Make the initialized checkpoint: E' = A @ E for input and output embeddings, with the target tokenizer."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.alignment.matrix import read_alignment
from tokalign.alignment.table import read_categories
from tokalign.common import cli
from tokalign.common.files import atomic_directory, read_json, write_json
from tokalign.config.alignments import InitializationSettings, InitializeSettings
from tokalign.initialization.fitted_rows import read_fitted
from tokalign.initialization.initialize import initialize
from tokalign.tokenizers.loading import load_tokenizer


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="resolved source model")
    parser.add_argument("--alignment", type=Path, required=True, help="matrix of the alignment")
    parser.add_argument("--tokens", type=Path, help="its tokens.parquet; needed if norm_matching or scale is set")
    parser.add_argument("--fitted", type=Path, help="rows fitted to the model, if the alignment has a fit")
    parser.add_argument("--tokenizer", type=Path, required=True, help="resolved target tokenizer")
    parser.add_argument("--tokenizer-info", type=Path, required=True, help="its info.json")
    cli.add_settings(parser, InitializeSettings)
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Initialize and save."""
    settings, trust = args.settings.part(InitializationSettings), args.settings.trust_remote_code
    alignment = read_alignment(args.alignment)
    categories = read_categories(args.tokens) if args.tokens else None
    fitted = read_fitted(args.fitted) if args.fitted else None
    roles = read_json(args.tokenizer_info)["roles"]
    tokenizer = load_tokenizer(args.tokenizer)
    with atomic_directory(args.output) as folder:
        record = initialize(args.model, folder, alignment, categories, roles, settings, fitted, trust_remote_code=trust)
        write_json(folder / "initialization.json", record)
        tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    cli.run(main, arguments())
