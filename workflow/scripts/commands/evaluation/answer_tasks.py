"""Let a model answer tasks of lm-evaluation-harness, without network."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from tokalign.common import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.model_parser(__doc__, "names, include, shots, limit, batch_size, precision, trust_remote_code")
    parser.add_argument("--tasks", type=Path, required=True, help="tasks.json of resolve_tasks.py")
    parser.add_argument("--fetched", type=Path, help="folder of fetch_tasks.py, where not all tasks are your own")
    return parser


def main(args: argparse.Namespace) -> None:
    """Answer and write."""
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    import torch
    from tokalign.evaluation.suites.tasks.answers import TasksSettings, evaluate

    torch.set_num_threads(args.threads)
    evaluate(
        args.model, args.tokenizer or args.model, args.tasks, args.fetched, TasksSettings(**args.settings), args.labels, args.output,
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main, arguments())
