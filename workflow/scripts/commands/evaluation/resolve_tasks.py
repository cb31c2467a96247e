"""Resolve the task names of an evaluation to tasks of lm-evaluation-harness; needs no network and no data."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.suites import NamedTasks


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, NamedTasks)
    parser.add_argument(
        "--output", type=Path, required=True, help="JSON file to write: the tasks, their versions, data and metrics"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Resolve and write."""
    from tokalign.common.files import write_json
    from tokalign.evaluation.suites.tasks.resolve import resolve

    write_json(args.output, resolve(**args.settings.plain()))


if __name__ == "__main__":
    cli.run(main, arguments())
