"""Answer multiple-choice questions with a model by log-likelihood: accuracy, raw and normalized by the length of the choices."""

from __future__ import annotations

import argparse

from tokalign.common import cli
from tokalign.evaluation import command


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    return command.parser("choices", __doc__)


def main(args: argparse.Namespace) -> None:
    """Answer and write."""
    command.run("choices", args)


if __name__ == "__main__":
    cli.run(main, arguments())
