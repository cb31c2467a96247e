"""The text of the rules and of their environments."""

from __future__ import annotations

import re

import pytest
from support.environments import FILES, canonical_name, pins, requirements
from support.project import ROOT
from support.rules import COMMANDS, RULES, STARTED_BY, script_of
from tokalign.common.versions import VERSIONS

SCRIPTS = ROOT / "workflow/scripts/commands"


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
    assert [name for name in RULES if name.startswith("fetch_") and "\n    localrule: True\n" not in RULES[name]] == []


# ----------------------------------------------------------------------------------------------------- environments


@pytest.mark.parametrize("name", FILES)
def test_environment_has_the_versions_of_the_requirements(name: str):
    locked = pins((ROOT / "envs/requirements.txt").read_text().splitlines())
    wanted = requirements(FILES[name])
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
