"""What all tests share: threads that sleep while they wait, and the scripts of the rules as functions."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

# As for the workflow's own commands (rules/common.smk), and before any library reads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# For commands that tests start; the workflow sets it itself (support/project.py and support/snakemake_calls.py see to that).
os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1] / "workflow/scripts")


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a rule's script in this process, which has imported its libraries.

    It takes the module and the words of the command line, and returns what the command would: exit status and stderr (without
    log lines). An error that a command would show with a traceback is raised.
    """
    from tokalign.common import cli

    def run(script: ModuleType, *words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, words)])
        try:
            cli.run(script.main, script.arguments())
        except SystemExit as stop:
            return stop.code, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run
