"""Let a model write text after prompts: diversity, repetition, self-BLEU, length."""

from __future__ import annotations

import argparse

from tokalign.common import cli
from tokalign.evaluation import command


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    return command.parser("generation", __doc__)


def main(args: argparse.Namespace) -> None:
    """Generate text, measure it and write the result."""
    command.run("generation", args)


if __name__ == "__main__":
    cli.run(main, arguments())
