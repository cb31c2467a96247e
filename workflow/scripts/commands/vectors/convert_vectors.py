"""Import vectors from GloVe's text format (a line `id v1 ... vn` per token), or export them."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import read_json, sha256_file, write_json
from tokalign.tokens.counts import count_tokens
from tokalign.vectors.glove_text import read_glove_text, write_glove_text
from tokalign.vectors.vectors import Vectors, read_vectors, write_vectors


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    reading = commands.add_parser("import", help="text to safetensors", allow_abbrev=False)
    reading.add_argument("--text", type=Path, required=True, metavar="FILE", help="vectors in GloVe's text format")
    reading.add_argument("--tokenizer-info", type=Path, required=True, metavar="FILE", help="info.json with 'size'")
    reading.add_argument(
        "--shards", type=Path, nargs="+", required=True, metavar="FILE", help="token shards, Arrow IPC files, for the counts"
    )
    reading.add_argument("--threads", type=int, required=True, metavar="N", help="number of threads")
    reading.add_argument("--vectors", type=Path, required=True, metavar="FILE", help="vectors to write, safetensors")
    reading.add_argument("--objective", type=Path, required=True, metavar="FILE", help="record of the vectors, JSON")
    writing = commands.add_parser("export", help="safetensors to text", allow_abbrev=False)
    writing.add_argument("--vectors", type=Path, required=True, metavar="FILE", help="vectors, safetensors")
    writing.add_argument("--unk", action="store_true", help="add a row <unk>, as glove does: the mean of the 100 rarest tokens")
    writing.add_argument("--text", type=Path, required=True, metavar="FILE", help="text file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Convert."""
    if args.command == "export":
        write_glove_text(args.text, read_vectors(args.vectors), unknown=args.unk)
        return
    size = read_json(args.tokenizer_info)["size"]
    vectors, token_ids = read_glove_text(args.text, size)
    counts = count_tokens(args.shards, size, threads=args.threads)[token_ids]
    origin = {"sha256": sha256_file(args.text)}
    write_vectors(args.vectors, Vectors(vectors, token_ids, counts, {"imported": origin, "vocabulary_size": size}))
    write_json(args.objective, {"method": "imported", "objective": None, "settings": origin})


if __name__ == "__main__":
    cli.run(main, arguments())
