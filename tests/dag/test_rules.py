"""The text of the rules and of their environments."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from support.project import ROOT
from support.rules import RULES
from tokalign.common.versions import VERSIONS
from tokalign.evaluation.registry import SUITES

LIBRARY = ROOT / "workflow/scripts"
SCRIPTS = LIBRARY / "commands"
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


COMMANDS = {name: text for name, text in RULES.items() if "    shell:" in text}


STARTED_BY = {"training/launch_training.py": "training/train_stage.py"}
"""Commands that start another command."""
OPTIONAL = {"liger_kernel"}
"""Modules that are used where a user has installed them."""


def script_of(rule: str) -> str:
    """Return the path of the command that a rule runs, below commands/."""
    (name,) = re.findall(r"/(\w+/\w+\.py)\b", COMMANDS[rule].split("    shell:")[1])
    return STARTED_BY.get(name, name)


def canonical_name(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def pins(lines: list[str]) -> dict[str, str]:
    """Return the versions of lines such as ``name==1.0``."""
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonical_name(name): version.split(";")[0].strip() for name, version in pairs}


def environment(path: Path) -> list[str]:
    """Return the pip requirements of a conda environment."""
    return next(entry["pip"] for entry in yaml.safe_load(path.read_text())["dependencies"] if isinstance(entry, dict))


def test_the_rules_are_found():
    assert {"all", "fetch_hub", "prepare_corpus", "train_stage", "make_tables"} <= set(RULES)
    assert len(COMMANDS) == len(list(SCRIPTS.glob("*/[!_]*.py"))) - len(WITHOUT_RULE)


WITHOUT_RULE = {"document_config.py", "cancel_orphans.py", *STARTED_BY}
"""Commands that people run by hand, or that start another."""
WITHOUT_RESULT = {"preflight"}
"""Rules that make no file, so that nothing could be out of date."""


@pytest.mark.parametrize("rule", RULES)
def test_rule_says_what_it_does(rule: str):
    assert re.match(r'    """[A-Z].+\.', RULES[rule])


@pytest.mark.parametrize("rule", COMMANDS)
def test_rule_is_complete(rule: str):
    text = COMMANDS[rule]
    parts = ("log", "conda", "params") if rule in WITHOUT_RESULT else ("output", "log", "conda", "params")
    missing = [part for part in parts if f"\n    {part}:" not in text]
    assert not missing
    version = re.search(r'version=VERSIONS\["(\w+)"\]', text)
    assert rule in WITHOUT_RESULT or (version and version[1] in VERSIONS)
    assert re.search(r"2>&1 \| .*tee \{log:q\}", text)
    conda = re.search(r'conda:\s*"\.\./(envs/\w+\.yaml)"', text)
    assert conda and (ROOT / conda[1]).is_file()
    assert (SCRIPTS / script_of(rule)).is_file()


def test_versions_belong_to_rules():
    used = set(re.findall(r'VERSIONS\["(\w+)"\]', "".join(RULES.values())))
    assert used == set(VERSIONS)


def test_only_fetch_rules_use_the_network():
    online = {name for name, text in RULES.items() if re.search(r"OFFLINE|\bcurl\b|\bwget\b|pip (install|download)", text)}
    # fetch_wheel calls pip, which knows no such switch; preflight only asks whether there is access.
    assert online == {"fetch_hub", "fetch_dataset", "fetch_testset", "fetch_tasks", "preflight"}
    everywhere = {path.name for path in (ROOT / "rules").glob("*.smk") if re.search(r'OFFLINE="?0', path.read_text())}
    assert everywhere <= {"fetch.smk", "preflight.smk"}
    assert re.search(r'HF_HUB_OFFLINE="1".*HF_DATASETS_OFFLINE="1"', (ROOT / "rules/common.smk").read_text(), re.DOTALL)


def test_fetch_rules_run_where_snakemake_runs():
    text = (ROOT / "rules/fetch.smk").read_text()
    listed = re.search(r"^localrules:\n((?:    \w+,\n)+)", text, re.MULTILINE)
    assert listed and set(re.findall(r"\w+", listed[1])) == {name for name in RULES if name.startswith("fetch_")}


# ----------------------------------------------------------------------------------------------------- environments


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_environment_has_the_versions_of_the_requirements(path: Path):
    locked = pins((ROOT / "envs/requirements.txt").read_text().splitlines())
    wanted = environment(path)
    assert [line for line in wanted if "==" not in line and not line.startswith("--")] == []
    own = pins(wanted)
    assert own == {name: locked.get(name) for name in own}


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_requirements_are_pinned_and_cover_what_is_wanted(name: str):
    lines = [line for line in (ROOT / f"envs/{name}.txt").read_text().splitlines() if line and line[0] not in "#-"]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    wanted = (ROOT / f"envs/{name}.in").read_text().splitlines()
    names = {canonical_name(re.split(r"[=<>\[ ]", line)[0]) for line in wanted if line and line[0] not in "#-"}
    assert names <= set(pins(lines))


def imported(path: Path, seen: set[Path]) -> set[str]:
    """Return the top-level names of the foreign modules that a file needs, through the library too."""
    seen.add(path)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if not name.startswith("tokalign"):
                found.add(name.split(".")[0])
                continue
            place = LIBRARY / name.replace(".", "/")
            own = next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
            if own and own not in seen:
                found |= imported(own, seen)
    return found - set(sys.stdlib_module_names)


def with_dependencies(names: set[str]) -> set[str]:
    """Add what the installed distributions of these names require, without extras."""
    found, left = set(), set(names)
    while left:
        name = left.pop()
        found.add(name)
        requirements = [line for line in metadata.requires(name) or [] if "extra ==" not in line]
        left |= {canonical_name(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in requirements if "; " not in line} - found
    return found


@pytest.mark.parametrize("rule", COMMANDS)
def test_environment_of_a_rule_has_what_its_script_imports(rule: str):
    conda = re.search(r'conda:\s*"\.\./(envs/\w+\.yaml)"', COMMANDS[rule])
    assert conda
    provided = with_dependencies(set(pins(environment(ROOT / conda[1]))))
    owners = metadata.packages_distributions()
    seen: set[Path] = set()
    foreign = imported(SCRIPTS / script_of(rule), seen)
    for suite in SUITES.values():  # which the registry imports by name
        if suite.command == rule:
            foreign |= imported(LIBRARY / f"{suite.module.replace('.', '/')}.py", seen)
    needed = {name: {canonical_name(owner) for owner in owners[name]} for name in foreign - OPTIONAL}
    assert {name: owner for name, owner in needed.items() if not owner & provided} == {}
