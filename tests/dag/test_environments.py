"""Each command starts and finds all its imports, also those of the library, in the environment of its rule alone."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from support.environments import FILES, canonical_name, pins, requirements, write_python
from support.project import ROOT
from support.rules import COMMANDS, script_of
from tokalign.config.alignments import METHOD_ENTRIES
from tokalign.config.suites import SUITES

LIBRARY = ROOT / "workflow/scripts"
SCRIPTS = LIBRARY / "commands"
OPTIONAL = {"liger_kernel"}
"""Modules that are used if a user has installed them."""
BY_NAME = {
    "tokalign.alignment.methods.registry": {
        f"tokalign.alignment.methods.{entry.function.split('.')[0]}" for entry in METHOD_ENTRIES.values()
    },
    "tokalign.evaluation.suite": {f"tokalign.evaluation.suites.{entry.module}" for entry in SUITES.values()},
}
"""Modules that a module of the library imports by names in the configuration's types."""
STARTS = """
import importlib, io, json, runpy, sys
work = json.load(sys.stdin)
missing = {}
def attempt(name, act):
    try:
        act()
    except (ImportError, SystemExit) as error:
        if getattr(error, "code", 1) != 0:
            missing[name] = str(error)
for name in work["modules"]:
    attempt(name, lambda: importlib.import_module(name))
output, sys.stdout = sys.stdout, io.StringIO()
for script in work["scripts"]:
    sys.argv = [script, *work["options"]]
    attempt(script, lambda: runpy.run_path(script, run_name="__main__"))
sys.stdout = output
json.dump(missing, sys.stdout)
"""
"""A program that imports modules and runs scripts, and says which of them fail for want of a module."""


def environment_of(rule: str) -> str:
    """Return the name of the environment of a rule."""
    (name,) = re.findall(r'conda:\s*"[./]+/envs/(\w+)\.yaml"', COMMANDS[rule])
    return name


def imported(path: Path, seen: set[Path]) -> set[str]:
    """Return the names of third-party modules that a file imports anywhere, also through the library."""
    seen.add(path)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            own = node.module.startswith("tokalign")
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names if own)]
        for name in names:
            if not name.startswith("tokalign"):
                found.add(name)
                continue
            place = LIBRARY / name.replace(".", "/")
            files = [place.with_suffix(".py"), place / "__init__.py"]
            files += [(LIBRARY / other.replace(".", "/")).with_suffix(".py") for other in BY_NAME.get(name, ())]
            for file in files:
                if file.is_file() and file not in seen:
                    found |= imported(file, seen)
    return {name for name in found if name.split(".")[0] not in {*sys.stdlib_module_names, *OPTIONAL}}


def tried(name: str, folder: Path, scripts: list[str], modules: set[str]) -> dict[str, str]:
    """Import modules and run scripts with ``--help`` in an environment; return the failures."""
    write_python(folder / "python", FILES[name])
    work = {"scripts": [str(SCRIPTS / script) for script in scripts], "modules": sorted(modules), "options": ["--help"]}
    result = subprocess.run(
        [folder / "python", "-c", STARTS],
        input=json.dumps(work),
        text=True,
        capture_output=True,
        env={"PYTHONPATH": str(LIBRARY)},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", FILES)
def test_commands_have_what_they_import(name: str, tmp_path: Path):
    scripts = sorted({script_of(rule) for rule in COMMANDS if environment_of(rule) == name})
    assert scripts
    modules = set().union(*(imported(SCRIPTS / script, set()) for script in scripts))
    assert tried(name, tmp_path, scripts, modules) == {}


def test_every_rule_has_an_environment():
    assert {environment_of(rule) for rule in COMMANDS} == set(FILES)


def test_what_an_environment_lacks_is_found_missing(tmp_path: Path):
    """The test above can fail: the environment of the report has no torch."""
    script = "training/train_stage.py"
    assert set(tried("report", tmp_path, [script], {"torch", "numpy"})) == {"torch", str(SCRIPTS / script)}


INDIRECT = {
    "evaluate": {"accelerate"},  # models of lm_eval
    "report": {"jinja2", "tabulate"},  # tables of pandas: LaTeX, Markdown
    "train": {"accelerate", "jinja2"},  # the Trainer of transformers; the model card of huggingface_hub
}
"""Distributions that a library imports only in functions that our commands call."""


@pytest.mark.parametrize("name", FILES)
def test_an_environment_names_what_its_commands_import(name: str):
    scripts = {script_of(rule) for rule in COMMANDS if environment_of(rule) == name}
    modules = {module.split(".")[0] for script in scripts for module in imported(SCRIPTS / script, set())}
    owners = metadata.packages_distributions()
    needed = {canonical_name(owner) for module in modules for owner in owners[module]}
    assert set(pins(requirements(FILES[name]))) == needed | INDIRECT.get(name, set())
