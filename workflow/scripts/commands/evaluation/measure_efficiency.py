"""Measure the speed, latency and memory of a model reading and writing text."""

from __future__ import annotations

import argparse

from tokalign.common import cli
from tokalign.evaluation import command


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    return command.parser("efficiency", __doc__)


def main(args: argparse.Namespace) -> None:
    """Measure and write."""
    command.run("efficiency", args)


if __name__ == "__main__":
    cli.run(main, arguments())
