"""Translate parallel test sets with a model by prompts: BLEU, chrF++, TER, lengths and failures."""

from __future__ import annotations

import argparse

from tokalign.common import cli
from tokalign.evaluation import command


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    return command.parser("translation", __doc__)


def main(args: argparse.Namespace) -> None:
    """Translate, score and write."""
    command.run("translation", args)


if __name__ == "__main__":
    cli.run(main, arguments())
