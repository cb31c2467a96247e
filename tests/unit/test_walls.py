"""The walls of the library: a package imports what its line in docs/architecture.md names, and nothing else of ours."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from support.project import ROOT

LIBRARY = ROOT / "workflow/scripts/tokalign"


def table() -> dict[str, tuple[int, set[str]]]:
    """Return the level of each package and what it may import, from the documentation."""
    text = (
        (ROOT / "docs/architecture.md")
        .read_text(encoding="utf-8")
        .split("<!-- walls:begin -->")[1]
        .split("<!-- walls:end -->")[0]
    )
    lines = re.findall(r"^\| (\d) \| `(\w+)` \| .* \| ([^|]*) \|$", text, re.MULTILINE)
    return {name: (int(level), set(re.findall(r"\w+", allowed))) for level, name, allowed in lines}


def imported(file: Path) -> set[str]:
    """Return the modules that a file imports, also within functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def packages(file: Path) -> set[str]:
    """Return the packages of the library that a file imports."""
    return {name.split(".")[1] for name in imported(file) if name.startswith("tokalign.")}


def test_the_table_names_every_package():
    assert set(table()) == {folder.name for folder in LIBRARY.iterdir() if (folder / "__init__.py").exists()}


def test_imports_go_downwards_through_the_doors_of_the_table():
    walls = table()
    for name, (level, allowed) in walls.items():
        assert all(walls[other][0] < level for other in allowed), name
        used = set().union(*(packages(file) for file in (LIBRARY / name).rglob("*.py"))) - {name}
        assert used <= allowed, f"{name} imports {sorted(used - allowed)}"


def test_the_library_knows_neither_snakemake_nor_what_lies_above_it():
    for file in LIBRARY.rglob("*.py"):
        above = {name.split(".")[0] for name in imported(file)} & {"snakemake", "plan", "commands"}
        assert not above, f"{file} imports {above}"


def test_packages_are_empty_rooms():
    """The rules import single modules at every start; a package must not load others by that."""
    for file in (ROOT / "workflow/scripts").rglob("__init__.py"):
        assert len(ast.parse(file.read_text(encoding="utf-8")).body) == 1, file


def test_modules_lie_in_packages():
    assert [path.name for path in LIBRARY.glob("*.py")] == ["__init__.py"]
