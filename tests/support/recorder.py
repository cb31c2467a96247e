"""Run train_stage.py and write the number of every training sequence that its process reads to RECORD.RANK."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from tokalign.training import data

TRAINER = Path(__file__).resolve().parents[2] / "workflow/scripts/commands/training/train_stage.py"

get = data.ScheduledBlocks.__getitem__


def record(self: data.ScheduledBlocks, index: int) -> dict:
    with Path(f"{os.environ['RECORD']}.{os.environ.get('RANK', 0)}").open("a") as file:
        file.write(f"{index} {self.order[index, 1]}\n")
    return get(self, index)


data.ScheduledBlocks.__getitem__ = record
sys.argv[0] = str(TRAINER)
runpy.run_path(sys.argv[0], run_name="__main__")
