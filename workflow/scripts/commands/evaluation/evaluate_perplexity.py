"""Score a model on held-out documents: bits per byte and perplexity, by language and domain."""

from __future__ import annotations

import argparse

from tokalign.common import cli
from tokalign.evaluation import command


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    return command.parser("perplexity", __doc__)


def main(args: argparse.Namespace) -> None:
    """Score and write."""
    command.run("perplexity", args)


if __name__ == "__main__":
    cli.run(main, arguments())
