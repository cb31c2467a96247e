"""Download a snapshot of a hub repository at a pinned revision (network)."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.sources import HubSettings
from tokalign.fetch.sources import fetch_hub


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, HubSettings)
    parser.add_argument(
        "--kind", choices=("model", "tokenizer", "embedder"), required=True, help="a tokenizer is fetched without weights"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to create")
    return parser


def main(args: argparse.Namespace) -> None:
    """Fetch one repository."""
    fetch_hub(args.settings.hub, args.settings.revision, args.output, tokenizer_only=args.kind == "tokenizer")


if __name__ == "__main__":
    cli.run(main, arguments())
