"""The command line of a training stage as in its rule, to run and interrupt without snakemake."""

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
    """Return the options that the rule passes to launch_training.py, as snakemake prints them; cached per project."""
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
        project: project with everything except the stage.
        target: folder of the stage's checkpoint.
        launcher: changes to the rule's ``nodes``, ``processes`` or ``threads``.
        execution: changes to how the stage runs.
        settings: changes to what it computes.
        script: the launcher.
        options: changes to options of train_stage.py, such as ``state``.
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
    """Run a training to its end; return its status and output."""
    result = subprocess.run(command, cwd=project.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return result.returncode, result.stdout
