"""The command line of a training stage as its rule would run it, to be run and interrupted without snakemake around it."""

from __future__ import annotations

import functools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.project import ROOT, Project

SCRIPTS = ROOT / "workflow/scripts/commands"


@functools.cache
def command_line(project: Project, target: str) -> tuple[str, ...]:
    """Return the options of launch_training.py that the rule gives it, as snakemake shows them; asked once for a project."""
    shown = project.run(target, "-n", "-p", "--force", "--cores", "1").stdout
    (line,) = (found for found in re.findall(r"launch_training\.py (.*?) 2>&1", shown) if found.endswith(f" --output {target}"))
    return tuple(shlex.split(line))


def stage_command(
    project: Project,
    target: str,
    *,
    launcher: dict[str, int] | None = None,
    execution: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    script: Path = SCRIPTS / "training/launch_training.py",
    **options: str,
) -> list[str]:
    """Return the command that trains a stage.

    Args:
        project: in which all but the stage is there.
        target: folder of the stage's checkpoint.
        launcher: other ``nodes``, ``processes`` or ``threads`` than the rule's.
        execution: changes of how the stage runs.
        settings: changes of what it computes.
        script: the launcher.
        options: other values of options of train_stage.py, such as ``state``.
    """
    words = list(command_line(project, target))

    def put(option: str, value: str) -> None:
        words[words.index(f"--{option}") + 1] = value

    for option, value in {**(launcher or {}), **options}.items():
        put(option, str(value))
    for option, changes in (("execution", execution), ("settings", settings)):
        put(option, json.dumps(json.loads(words[words.index(f"--{option}") + 1]) | (changes or {})))
    return [sys.executable, str(script), *words]


def run(project: Project, command: list[str]) -> tuple[int, str]:
    """Run a training to its end; return its status and what it said."""
    result = subprocess.run(command, cwd=project.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return result.returncode, result.stdout
