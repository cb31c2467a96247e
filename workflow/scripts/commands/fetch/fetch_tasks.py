"""Download the data of lm-evaluation-harness tasks, to run them without network."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import atomic_directory, read_json


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--tasks", type=Path, required=True, help="tasks.json of resolve_tasks.py")
    parser.add_argument("--output", type=Path, required=True, help="folder to create: datasets/ and provenance.json")
    return parser


def main(args: argparse.Namespace) -> None:
    """Download with caches in a temporary folder and the user's token, if any."""
    with tempfile.TemporaryDirectory(prefix="fetch-tasks-") as scratch, atomic_directory(args.output) as folder:
        os.environ.update(
            HF_HUB_CACHE=f"{scratch}/hub", HF_MODULES_CACHE=f"{scratch}/modules", HF_DATASETS_CACHE=f"{scratch}/datasets"
        )
        from tokalign.evaluation.suites.tasks.resolve import fetch

        fetch(read_json(args.tasks), folder)


if __name__ == "__main__":
    cli.run(main, arguments())
