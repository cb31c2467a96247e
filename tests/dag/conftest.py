"""One finished run of the tiny project; each test gets a private copy of it, in which nothing is left to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from copies import copy_project
from tiny import Project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("finished") / "project")
    project.run()
    return project.folder


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Project:
    return copy_project(finished, tmp_path / "project")
