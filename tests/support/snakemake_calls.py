"""Calls of Snakemake by a server (``snakemake_server.py``) that starts with the first call and ends with this process."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SERVER = Path(__file__).resolve().with_name("snakemake_server.py")


@functools.cache
def server() -> subprocess.Popen[str]:
    """Return the server of this process."""
    return subprocess.Popen([sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line that begins with ``python -m snakemake`` in a folder, in a forked process.

    Returns:
        The exit status, and as ``stdout`` the combined standard output and standard error.
    """
    assert command[:3] == [sys.executable, "-m", "snakemake"], command
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as output:
        call = {
            "arguments": command[3:],
            "folder": str(folder),
            "environment": os.environ | {"PYTHONPATH": ""},
            "output": output.name,
        }
        server().stdin.write(json.dumps(call) + "\n")
        server().stdin.flush()
        status = server().stdout.readline()
        assert status, f"the server of snakemake has ended with {server().wait()}"
        return subprocess.CompletedProcess(command, int(status), output.read())
