"""The command line that all model suites share; ``SUITES`` gives the inputs of each."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.suites import SUITES


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a suite's command.

    Args:
        name: name of the suite.
        description: docstring of the command.
    """
    made = cli.parser(description)
    made.add_argument("--model", type=Path, required=True, help="folder of a model")
    made.add_argument("--tokenizer", type=Path, help="folder of its tokenizer, if it is not in the model's folder")
    for each in SUITES[name].inputs:
        made.add_argument(f"--{each.option}", type=Path, nargs="+" if each.many else None, required=each.required, help=each.help)
    cli.add_settings(made, SUITES[name].settings)
    made.add_argument("--labels", type=cli.settings, default={}, help="JSON object copied into the result")
    made.add_argument("--threads", type=int, default=1, help="CPU threads")
    made.add_argument("--output", type=Path, required=True, help="JSON file to write; its items go beside it (.parquet)")
    return made


def run(name: str, args: argparse.Namespace) -> None:
    """Measure a model with a suite and write the result.

    Args:
        name: name of the suite.
        args: arguments of :func:`parser`.
    """
    import torch

    from tokalign.evaluation.suite import evaluate

    torch.set_num_threads(args.threads)
    entry = SUITES[name]
    inputs = {each.key: getattr(args, each.key) for each in entry.inputs}
    evaluate(name, args.model, args.tokenizer or args.model, inputs, args.settings, args.labels, args.output)
