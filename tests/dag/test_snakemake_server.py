"""The tests' calls of Snakemake by a server behave like its command line, and are independent of each other."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from support import snakemake_calls
from support.copies import OwnCode
from support.project import Project


def plain(output: str) -> list[str]:
    """Sort the lines, as independent jobs come in any order, and remove the time and random name of a call."""
    return sorted(re.sub(r"(?m)^(  Date: .*|  Workflow ID: .*|\[\w{3} \w{3} [\d :]+\])$", "", output).splitlines())


@pytest.mark.parametrize(
    "arguments", [["-n", "-p", "--forceall"], ["no/such/file"], ["--lint"]], ids=lambda arguments: arguments[0]
)
def test_as_by_the_command_line(tmp_path: Path, arguments: list[str]):
    project = Project(tmp_path / "project")
    command = project.command(*arguments)
    result = subprocess.run(
        command, cwd=project.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    for _ in range(2):  # the first call leaves nothing to the second
        called = snakemake_calls.run(command, project.folder)
        assert (called.returncode, plain(called.stdout)) == (result.returncode, plain(result.stdout))
    assert (result.returncode == 0) == (arguments[0] != "no/such/file")


def test_a_call_has_the_environment_and_the_code_of_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The workflow changes PATH and adds its scripts to Python's path; the next call does not see that."""
    edited = OwnCode(Project(tmp_path / "project"), tmp_path / "code")
    shown = 'print("A", os.environ.get("OF_THE_TEST"), tokalign.common.versions.__file__, os.environ["PATH"])'
    (edited.code / "Snakefile").write_text(
        f'include: "rules/common.smk"\nimport tokalign.common.versions\n{shown}\nrule all:\n', "utf-8"
    )
    versions = edited.code / "workflow/scripts/tokalign/common/versions.py"
    for value in ("1", "2"):
        monkeypatch.setenv("OF_THE_TEST", value)
        (line,) = re.findall(r"^A (.*)", edited.run("-n").stdout, re.MULTILINE)
        name, file, path = line.split(" ", 2)
        assert (name, Path(file)) == (value, versions)
        assert path.endswith(f":{os.environ['PATH']}")
        assert path.count(":") == os.environ["PATH"].count(":") + 1
    assert "OF_THE_TEST" in os.environ
