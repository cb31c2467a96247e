"""Private copies of a project that the workflow has run in, and of the workflow's own files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import yaml

from support.project import ROOT, Project

CODE = ("Snakefile", "rules", "workflow", "profiles", "envs", "config")
"""What of the repository the workflow is made of."""


def copy_project(source: Path, target: Path) -> Project:
    """Copy a project so that nothing has to rerun in the copy, with times, Snakemake's records and links.

    Links to the inputs (as in ``results/models/*/hf``) are absolute; in the copy they point into the copy.
    """
    shutil.copytree(source, target, symlinks=True)
    for folder, _, names in os.walk(target):
        before = os.stat(folder)
        for path in (Path(folder, name) for name in names):
            if not path.is_symlink() or not (goal := path.readlink()).is_relative_to(source):
                continue
            time = path.lstat().st_mtime_ns
            path.unlink()
            path.symlink_to(target / goal.relative_to(source))
            os.utime(path, ns=(time, time), follow_symlinks=False)
        os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    project = Project(target, inputs=False)
    project.config = yaml.safe_load((source / "config.yaml").read_text(encoding="utf-8"))
    project.write()
    return project


class OwnCode(Project):
    """A project that runs a copy of the workflow's files, which a test may edit.

    Args:
        project: project to run in, used as it is.
        code: new folder for the copy.
    """

    def __init__(self, project: Project, code: Path):
        """Copy the workflow's files with their times."""
        self.folder, self.config, self.code = project.folder, project.config, code
        code.mkdir(parents=True, exist_ok=True)
        for name in CODE:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, code / name)

    def command(self, *arguments: str, profile: str = "profiles/local") -> list[str]:
        """Return the command line of a project, with the copy's files instead of the repository's."""
        python, *plain = super().command(
            *arguments, profile=profile
        )  # the environment may lie in the repository, and stays there
        return [
            python,
            *(str(self.code / Path(word).relative_to(ROOT)) if word.startswith(f"{ROOT}/") else word for word in plain),
        ]
