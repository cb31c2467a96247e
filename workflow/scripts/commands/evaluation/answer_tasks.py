"""Let a model answer tasks of lm-evaluation-harness, without network."""

from __future__ import annotations

import argparse
import logging
import os

from tokalign.common import cli
from tokalign.evaluation import command


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    return command.parser("tasks", __doc__)


def main(args: argparse.Namespace) -> None:
    """Answer and write."""
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    command.run("tasks", args)


if __name__ == "__main__":
    cli.run(main, arguments())
