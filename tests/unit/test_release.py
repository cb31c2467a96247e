"""The version and the method are named in one way in all files that name them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_citation_names_the_version():
    assert CITATION["version"] == VERSION
    assert CITATION["license"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)


def test_newest_entry_of_the_changelog_is_the_version():
    headings = re.findall(r"^## \[(.+)\] - (Unreleased|\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0][0] == VERSION
    assert [day for _, day in headings[1:]] == sorted((day for _, day in headings[1:]), reverse=True)


def test_citation_names_the_method_as_the_readme_does():
    entry = (ROOT / "README.md").read_text().split("@inproceedings{")[1]
    fields = dict(re.findall(r"^\s+(\w+)\s+= \{(.*)\},?$", entry, re.MULTILINE))
    (method,) = CITATION["references"]
    assert method["title"] == fields["title"]
    assert " and ".join(f"{each['given-names']} {each['family-names']}" for each in method["authors"]) == fields["author"]
    assert method["collection-title"] == fields["booktitle"]
    assert str(method["year"]) == fields["year"]


def test_catalog_finds_what_it_looks_for():
    """The files of a workflow with standardized usage, and the keys of its page."""
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert (ROOT / "workflow/Snakefile").is_file()
    assert (ROOT / "config/README.md").is_file()
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme and "workflow" in readme
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda"}
    for flag in usage["mandatory-flags"]["flags"]:
        assert (ROOT / flag.removeprefix("--profile ")).is_dir()


def test_actions_call_targets_of_the_makefile():
    text = (ROOT / ".github/workflows/tests.yml").read_text()
    kinds = yaml.safe_load(text)["jobs"]["whole"]["strategy"]["matrix"]["kind"]
    targets = {*re.findall(r"make (\w+)", text), *kinds}
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"check", "envs", "faults", "e2e", "slurm"} <= targets <= set(phony.split())
