"""Projects in which the workflow has run, made once for all processes of a test run; each test gets a private copy."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.copies import copy_project
from support.project import Project


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a function from names to folders; the first process to ask makes the folder, the others wait."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # xdist: a subfolder of a shared one

    def folder_of(name: str, make: Callable[[Path], None]) -> Path:
        folder, made = shared / name, shared / f"{name}-is-made"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert made.exists() or not folder.exists(), f"{folder}: another process failed to make it"
            if not made.exists():
                make(folder)
                made.touch()
        return folder

    return folder_of


def finish(folder: Path) -> None:
    """Run the whole workflow in a new tiny project."""
    Project(folder).run()


@pytest.fixture(scope="session")
def finished(once) -> Path:
    return once("finished", finish)


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Project:
    return copy_project(finished, tmp_path / "project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests without a finished project first: one process runs them while another makes the project."""
    items.sort(key=lambda item: "finished" in item.fixturenames)
