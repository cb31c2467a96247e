"""Pack token shards into training blocks."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.common.errors import InputError
from tokalign.common.files import read_json, write_json
from tokalign.tokens.packing import pack_shards


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="training token shards, in order")
    parser.add_argument("--tokenizer-info", type=Path, required=True, help="info.json of the tokenizer")
    parser.add_argument("--block", type=int, required=True, help="tokens per block")
    parser.add_argument("--output", type=Path, required=True, help="Arrow file to write")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Pack the shards."""
    info = read_json(args.tokenizer_info)
    if "eos" not in info["roles"]:
        raise InputError(f"{args.tokenizer_info}: the tokenizer has no EOS token", expected="a token that ends documents")
    manifest = pack_shards(args.shards, args.block, info["roles"]["eos"], args.output)
    write_json(args.manifest, manifest | {"eos": info["roles"]["eos"]})


if __name__ == "__main__":
    cli.run(main, arguments())
