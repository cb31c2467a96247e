"""Shared parts of the benchmarks: the machine's description, time and memory of commands, and the file of results.

A benchmark is run as ``python benchmarks/GROUP/NAME.py``; its first lines put this folder on the module path, and this
module puts the library there.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow/scripts"
sys.path.insert(0, str(SCRIPTS))
os.environ["PYTHONPATH"] = str(SCRIPTS)

from tokalign.common.errors import InputError  # noqa: E402 (found by the line above)
from tokalign.common.files import write_json  # noqa: E402


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes:
        wall_s: time from start to end. [s]
        cpu_s: time of all its threads and children, including the kernel. [s]
        peak_rss_mb: peak memory of any of its processes, but at least that of the benchmark process at the start. [MB]
        output: its stdout (unless that went to a file) and stderr.
    """

    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    output: str

    def numbers(self) -> dict[str, float]:
        """Return only the numbers, rounded, for a file of results."""
        return {"wall_s": round(self.wall_s, 3), "cpu_s": round(self.cpu_s, 3), "peak_rss_mb": round(self.peak_rss_mb, 1)}


def run_together(
    commands: Sequence[Sequence[str | Path]],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: Path | None = None,
    stdout: Path | None = None,
    cwd: Path | None = None,
) -> list[Measured]:
    """Run commands at once and wait for all; each ``wall_s`` is from the common start to its end.

    Args:
        commands: programs with their arguments.
        environment: variables added to those of this process.
        stdin: file that the (one) command reads.
        stdout: file that it writes.
        cwd: folder to run in.

    Raises:
        InputError: a command failed; the message quotes the end of its output.
    """
    results: dict[int, Measured] = {}
    running: dict[int, tuple[subprocess.Popen[bytes], Any, list[str]]] = {}
    start = time.perf_counter()
    for command in commands:
        words = [str(word) for word in command]
        log = tempfile.TemporaryFile()  # noqa: SIM115 (read when the command ends)
        with open(stdin or os.devnull, "rb") as source, open(stdout or os.devnull, "wb") as target:
            process = subprocess.Popen(
                words,
                stdin=source,
                stdout=target if stdout else log,
                stderr=log,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
            )
        running[process.pid] = (process, log, words)
    order = list(running)
    for _ in order:
        pid, status, usage = os.wait4(-1, 0) if len(running) > 1 else os.wait4(next(iter(running)), 0)
        wall = time.perf_counter() - start
        process, log, words = running.pop(pid)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        output = log.read().decode("utf-8", "replace")
        log.close()
        if process.returncode:
            raise InputError(f"the command {Path(words[0]).name} failed", found=output[-2000:], mend=f"run: {' '.join(words)}")
        results[pid] = Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, output)
    return [results[pid] for pid in order]


def run(command: Sequence[str | Path], **options: Any) -> Measured:
    """Run one command; options as for ``run_together``."""
    return run_together([command], **options)[0]


def fastest(command: Sequence[str | Path], repeats: int, **options: Any) -> Measured:
    """Run a command several times; return the fastest run. Options as for ``run_together``."""
    return min((run(command, **options) for _ in range(repeats)), key=lambda measured: measured.wall_s)


def script(name: str, **options: Any) -> list[str]:
    """Return the command line of a workflow script; lists become several values, dictionaries JSON."""
    (file,) = SCRIPTS.glob(f"commands/*/{name}.py")
    words = [sys.executable, str(file)]
    for option, value in options.items():
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        words += [f"--{option.replace('_', '-')}", *map(str, values)]
    return words


def machine() -> dict[str, Any]:
    """Return processor, usable cores, memory [GB] and system of this machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions(*distributions: str) -> dict[str, str]:
    """Return the installed versions of distributions."""
    return {name: importlib.metadata.version(name) for name in distributions}


def command_line() -> str:
    """Return this benchmark's command line; paths outside the working folder keep only their last part."""
    here = Path.cwd()

    def shown(word: str) -> str:
        name, sign, value = word.rpartition("=")
        path = Path(value)
        if path.is_absolute():
            value = str(path.relative_to(here)) if path.is_relative_to(here) else path.name
        return name + sign + value

    return " ".join(["python", *map(shown, sys.argv)])


def write_result(path: Path, result: Mapping[str, Any], distributions: Sequence[str]) -> None:
    """Write a result with its command line, date (UTC), machine and versions.

    Args:
        path: JSON file.
        result: what was measured.
        distributions: packages whose versions are recorded.
    """
    origin = {
        "command": command_line(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "versions": versions(*distributions),
    }
    write_json(path, {**origin, **result})
