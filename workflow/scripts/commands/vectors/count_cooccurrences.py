"""Count how often tokens occur together within a window, over all shards of a corpus."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import read_json
from tokalign.vectors.cooccurrence import CountSettings, count_cooccurrences, write_cooccurrences

log = logging.getLogger(__name__)


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="FILE", help="tokens, Arrow IPC files")
    parser.add_argument("--tokenizer-info", type=Path, required=True, metavar="FILE", help="info.json with 'size'")
    parser.add_argument(
        "--settings", type=cli.settings, required=True, metavar="JSON", help="settings of the counting but for memory_gb"
    )
    parser.add_argument("--memory-mb", type=int, required=True, metavar="N", help="bound of the memory for counting [MB]")
    parser.add_argument("--threads", type=int, required=True, metavar="N", help="threads to count with")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="counts, safetensors")
    return parser


def main(args: argparse.Namespace) -> None:
    """Count and write."""
    size = read_json(args.tokenizer_info)["size"]
    cooccurrences = count_cooccurrences(
        args.shards, size, CountSettings(**args.settings, memory_gb=args.memory_mb / 1000), args.threads
    )
    log.info("%d tokens kept of %d, %d non-zeros", len(cooccurrences.token_ids), size, len(cooccurrences.indices))
    write_cooccurrences(args.output, cooccurrences)


if __name__ == "__main__":
    cli.run(main, arguments())
