"""Runs train_stage.py and writes the number of every training sequence that its process reads to RECORD.RANK."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent / "workflow/scripts"
sys.path.insert(0, str(SCRIPTS))

from tokalign import training  # noqa: E402

get = training.ScheduledBlocks.__getitem__


def record(self: training.ScheduledBlocks, index: int) -> dict:
    with Path(f"{os.environ['RECORD']}.{os.environ.get('RANK', 0)}").open("a") as file:
        file.write(f"{index} {self.order[index, 1]}\n")
    return get(self, index)


training.ScheduledBlocks.__getitem__ = record
sys.argv[0] = str(SCRIPTS / "train_stage.py")
runpy.run_path(sys.argv[0], run_name="__main__")
