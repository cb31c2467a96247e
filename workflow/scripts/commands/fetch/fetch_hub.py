"""Download a snapshot of a hub repository at a pinned revision (network).

--settings {"hub": "owner/name", "revision": "commit"}
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.fetch.sources import fetch_hub


def arguments() -> argparse.ArgumentParser:
    """Return the options of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--settings", type=cli.settings, required=True, help="hub, revision")
    parser.add_argument(
        "--kind", choices=("model", "tokenizer", "embedder"), required=True, help="a tokenizer comes without weights"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder that shall appear")
    return parser


def main(args: argparse.Namespace) -> None:
    """Fetch one repository."""
    settings = args.settings
    fetch_hub(settings["hub"], settings["revision"], args.output, tokenizer_only=args.kind == "tokenizer")


if __name__ == "__main__":
    cli.run(main, arguments())
