"""Convert a tokenizer to the form that all later steps read."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.tokenizers import ResolvedSettings
from tokalign.fetch.sources import locate
from tokalign.tokenizers.resolve import read_source_tokenizer, save_tokenizer, set_special_tokens


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, ResolvedSettings)
    parser.add_argument("--fetched", type=Path, help="output of the fetch rule, for wheels and hub repositories")
    parser.add_argument("--hf", type=Path, required=True, help="folder for AutoTokenizer.from_pretrained")
    parser.add_argument("--vocabulary", type=Path, required=True, help="parquet: one row per id")
    parser.add_argument("--info", type=Path, required=True, help="JSON: size, roles, sha256, source")
    return parser


def main(args: argparse.Namespace) -> None:
    """Resolve one tokenizer."""
    settings, source = args.settings, args.settings.source.plain()
    located = locate(source, args.fetched)
    where = f"tokenizer {located.path}"
    tokenizer = read_source_tokenizer(located, settings.trust_remote_code)
    set_special_tokens(tokenizer, settings.special_tokens, where)
    save_tokenizer(tokenizer, source, where, args.hf, args.vocabulary, args.info)


if __name__ == "__main__":
    cli.run(main, arguments())
