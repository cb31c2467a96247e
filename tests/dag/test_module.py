"""The workflow used from elsewhere: as a module of another workflow, with and without a prefix, and with ``--directory``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support import snakemake_calls
from support.copies import OwnCode
from support.project import ROOT, Project

PREFIX = "tokalign_"
MODULE = """
configfile: "config.yaml"


module tokalign:
    snakefile:
        {snakefile!r}
    config:
        config


use rule * from tokalign{renamed}
"""
ALIGNMENT = "results/alignments/tiny/own--new/random"


class Using(Project):
    """A project whose own Snakefile uses the workflow as a module.

    Args:
        project: project to run in, used as it is.
        prefix: prefix of the rule names, or empty.
        snakefile: Snakefile of the workflow.
    """

    def __init__(self, project: Project, prefix: str = "", snakefile: str = str(ROOT / "workflow/Snakefile")):
        """Write the Snakefile."""
        self.folder, self.config = project.folder, project.config
        text = MODULE.format(snakefile=snakefile, renamed=f" as {prefix}*" if prefix else "")
        (self.folder / "Snakefile").write_text(text)

    def command(self, *arguments: str, profile: str = "profiles/local") -> list[str]:
        """Return the command line that runs the project's own Snakefile, in its folder and with its configuration."""
        python, *begin = super().command(profile=profile)
        chosen = begin[: begin.index("--snakefile")]
        return [python, *chosen, "--profile", str(ROOT / profile), *arguments]


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_same_jobs_as_the_workflow_itself(fresh: Project, prefix: str):
    jobs = fresh.planned()
    assert jobs["train_stage"] == 2
    planned = Using(fresh, prefix).planned()
    assert planned.pop(f"{PREFIX}all", 1) == 1
    assert planned == {prefix + rule: count for rule, count in jobs.items()}


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_finished_results_are_those_of_the_module(project: Project, prefix: str):
    """Nothing reruns, the report finds its captions, and a lost file is remade identically."""
    using = Using(project, prefix)
    assert using.planned() == {}
    using.run("--report", "report.html")
    page = (project.folder / "report.html").read_text()
    assert all(name in page for name in ("summary.html", "bits_per_byte.html", "compression.svg", "report.json"))
    before = {path.name: path.read_bytes() for path in (project.folder / ALIGNMENT).iterdir()}
    shutil.rmtree(project.folder / ALIGNMENT)
    using.run(*(f"{ALIGNMENT}/{name}" for name in before))
    assert {path.name: path.read_bytes() for path in (project.folder / ALIGNMENT).iterdir()} == before


def test_rules_of_a_module_can_be_changed(fresh: Project):
    """A second use reads the module again, with the configuration completed by the first."""
    using = Using(fresh, PREFIX)
    with (fresh.folder / "Snakefile").open("a") as file:
        file.write(
            f"\n\nuse rule align_vocabularies from tokalign as {PREFIX}align_vocabularies with:\n    resources:\n        mem_mb=77,\n"
        )
    shown = using.run("-n", f"{ALIGNMENT}/alignment.safetensors").stdout
    assert "mem_mb=77," in shown.split(f"rule {PREFIX}align_vocabularies:")[1]


def test_configuration_may_be_a_block_of_another(fresh: Project):
    jobs = fresh.planned()
    fresh.config = {"ours": 1, "tokalign": fresh.config}
    fresh.write()
    using = Using(fresh)
    file = fresh.folder / "Snakefile"
    file.write_text(file.read_text().replace("        config\n", '        config["tokalign"]\n'))
    assert using.planned() == jobs


def test_local_rules_stay_local_under_a_prefix(fresh: Project):
    """They run where snakemake runs, since cluster nodes have no network. (A dry run counts all rules as local.)"""
    using = Using(fresh, PREFIX)
    with (fresh.folder / "Snakefile").open("a") as file:
        file.write('\nprint("LOCAL:", *sorted(workflow._localrules))\n')
    (line,) = re.findall(r"^LOCAL: (.*)", using.run("-n").stdout, re.MULTILINE)
    rules = (
        "all aligned draw_figure fetch_dataset fetch_hub fetch_tasks fetch_testset fetch_wheel fetched initialized make_tables "
    )
    assert set(line.split()) == {PREFIX + rule for rule in f"{rules} preflight resolve_tasks write_summary".split()}


def test_preflight_under_a_prefix(fresh: Project):
    """It plans all other jobs, and sees the profile's settings for the prefixed rule names."""
    using = Using(fresh, PREFIX)
    planned = sum(using.planned().values())
    shown = using.run(f"{PREFIX}preflight").stdout
    assert f"\n{planned} jobs.\n" in shown
    assert "preflight: no check fails" in shown
    told = using.run(f"{PREFIX}preflight", "-n", "-p", "--set-resources", f"{PREFIX}train_stage:gpu_model=h100").stdout
    (settings,) = re.findall(r"preflight\.py --settings (\S+)", told)
    assert '"gpu":"h100"' in (fresh.folder / settings).read_text()


def test_folder_elsewhere_has_its_own_configuration(fresh: Project):
    """``--directory``: config/config.yaml, inputs and results belong to that folder, wherever the command is run."""
    jobs = fresh.planned()
    (fresh.folder / "config").mkdir()
    (fresh.folder / "config.yaml").rename(fresh.folder / "config/config.yaml")
    for snakefile in ("Snakefile", "workflow/Snakefile"):
        project = Project.__new__(Project)
        project.folder = fresh.folder
        command = [*fresh.command()[:3], "--snakefile", str(ROOT / snakefile), "--directory", str(fresh.folder), "--cores", "2"]
        project.command = lambda *words, command=command, **_: [*command, *words]
        assert project.planned() == jobs
    made = "results/tokenizers/own/info.json"
    result = snakemake_calls.run([*command, made], fresh.folder.parent)
    assert result.returncode == 0, result.stdout[-3000:]
    assert (fresh.folder / made).is_file()


def test_rules_without_their_library(fresh: Project, tmp_path: Path):
    """A module from a repository address gets single files without the library: the message says what to do."""
    code = OwnCode(fresh, tmp_path / "code").code
    shutil.rmtree(code / "workflow/scripts")
    shown = Using(fresh, snakefile=str(code / "workflow/Snakefile")).run("-n", check=False)
    assert shown.returncode != 0
    assert f"{code}/workflow/scripts: no such folder" in shown.stdout
    assert "clone the repository" in shown.stdout
