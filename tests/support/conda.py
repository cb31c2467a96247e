"""A stand-in for conda, so that ``snakemake --sdm conda`` runs without network and without installing anything.

It makes environments as fast as a file copy: each has a ``python`` that is the interpreter of the tests with only the
distributions that the environment file names (``environments.py``). Snakemake's part is real: which environment a rule has, its
activation, and which shell variables are removed.

As a program: ``conda.py BASE info --json``, ``--version``, ``config --get channel_priority --json``, ``env create``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.environments import write_python

ACTIVATE = 'export CONDA_PREFIX="$1"\nexport PATH="$1/bin:$PATH"\n'


def install(base: Path) -> Path:
    """Write the programs ``conda`` and ``activate``, and return their folder, which must come first on PATH."""
    folder = base / "bin"
    folder.mkdir(parents=True)
    (folder / "activate").write_text(ACTIVATE)
    program = folder / "conda"
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, __file__, str(base)])} "$@"\n')
    program.chmod(0o755)
    return folder


def main(base: str, words: list[str]) -> None:
    """Answer one call of conda."""
    if words == ["info", "--json"]:
        print(json.dumps({"conda_prefix": base, "platform": "linux-64"}))
    elif words == ["--version"]:
        print("conda 25.1.0")
    elif words[:2] == ["config", "--get"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif words[:1] == ["clean"]:
        pass  # nothing was downloaded
    elif words[:2] == ["env", "create"]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--file", type=Path, required=True)
        parser.add_argument("--prefix", type=Path, required=True)
        options, _ = parser.parse_known_args(words[2:])
        write_python(options.prefix / "bin/python", options.file)
    else:
        sys.exit(f"this stand-in for conda does not know: {shlex.join(words)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
