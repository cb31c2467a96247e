"""Count how often tokens occur together within a window, over all shards of a corpus."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import read_json
from tokalign.config.vectors import Counting, CountSettings
from tokalign.vectors.cooccurrence import count_cooccurrences, write_cooccurrences

log = logging.getLogger(__name__)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="FILE", help="token shards, Arrow IPC files")
    parser.add_argument("--tokenizer-info", type=Path, required=True, metavar="FILE", help="info.json with 'size'")
    cli.add_settings(parser, Counting)
    parser.add_argument("--memory-mb", type=int, required=True, metavar="N", help="memory limit for counting [MB]")
    parser.add_argument("--threads", type=int, required=True, metavar="N", help="number of threads")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="counts, safetensors")
    return parser


def main(args: argparse.Namespace) -> None:
    """Count and write."""
    size = read_json(args.tokenizer_info)["size"]
    settings = CountSettings.model_construct(**args.settings.plain(), memory_gb=args.memory_mb / 1000)  # any amount is valid
    cooccurrences = count_cooccurrences(args.shards, size, settings, args.threads)
    log.info("%d tokens kept of %d, %d non-zeros", len(cooccurrences.token_ids), size, len(cooccurrences.indices))
    write_cooccurrences(args.output, cooccurrences)


if __name__ == "__main__":
    cli.run(main, arguments())
