"""Many calls of Snakemake's command line at the cost of one start: it is imported once, and each call is a forked process.

A call is like ``python -m snakemake``: a separate process with a given folder and environment. Its changes (modules of the
workflow's scripts, ``sys.path``, the environment) end with it. Each line of the input is a call as JSON (``arguments``,
``folder``, ``environment``, and ``output``, an existing file); the answer is a line with its exit status. The server ends at the
end of the input.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pydantic  # noqa: F401  imported by the rules
import smart_open  # noqa: F401  imported by Snakemake when it reads them
from snakemake import cli
from snakemake.workflow import Workflow


def become_call(call: dict[str, Any]) -> None:
    """Set up the forked process like a new process of ``python -m snakemake``."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(call["output"], os.O_WRONLY)
    for source, goal in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, goal)
    os.close(nothing)
    os.close(output)
    os.environ.clear()
    os.environ.update(call["environment"])
    os.chdir(call["folder"])
    sys.path[0] = call["folder"]
    sys.argv = [str(Path(cli.__file__).with_name("__main__.py")), *call["arguments"]]
    Workflow._rundir = call["folder"]  # was set by the import; Snakemake shows it


def serve() -> None:
    """Answer calls; in a forked process, which makes one, this ends in its exit."""
    cli.get_argument_parser()  # imports the plugins
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the call; whoever waits for the call then closes the input
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become_call(json.loads(line))
            sys.exit(cli.main())
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
