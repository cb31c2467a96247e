"""Train fastText vectors of tokens from the token shards of a corpus."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import read_json, write_json
from tokalign.config.vectors import FastTextSettings
from tokalign.vectors.fasttext import train_fasttext
from tokalign.vectors.vectors import Vectors, write_vectors


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="FILE", help="token shards, Arrow IPC files")
    parser.add_argument("--tokenizer-info", type=Path, required=True, metavar="FILE", help="info.json with 'size'")
    cli.add_settings(parser, FastTextSettings)
    parser.add_argument("--vectors", type=Path, required=True, metavar="FILE", help="vectors to write, safetensors")
    parser.add_argument("--objective", type=Path, required=True, metavar="FILE", help="record of the training, JSON")
    return parser


def main(args: argparse.Namespace) -> None:
    """Train and write; the library does not report its loss, so the record has none."""
    settings = args.settings
    size = read_json(args.tokenizer_info)["size"]
    vectors, token_ids, counts = train_fasttext(args.shards, size, settings)
    metadata = {"fasttext": settings.plain(), "vocabulary_size": size}
    write_vectors(args.vectors, Vectors(vectors, token_ids, counts, metadata))
    write_json(args.objective, {"method": "fasttext", "objective": None, "settings": settings.plain()})


if __name__ == "__main__":
    cli.run(main, arguments())
