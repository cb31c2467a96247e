"""The environments of the rules (``envs/*.yaml``), and an interpreter with only the distributions of one of them."""

from __future__ import annotations

import json
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
ISOLATION = Path(__file__).resolve().with_name("isolation")
FILES = {path.stem: path for path in sorted((ROOT / "envs").glob("*.yaml"))}
"""The environment files by name."""
ALWAYS = {"pip"}
"""What each environment has besides its pins."""


def canonical_name(distribution: str) -> str:
    """Return the name of a distribution as normalized by PEP 503."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def pins(lines: list[str]) -> dict[str, str]:
    """Return the versions in lines such as ``name==1.0``, by canonical name."""
    found = [Requirement(line) for line in lines if "==" in line and not line.startswith(("#", "-"))]
    return {canonical_name(each.name): str(each.specifier).removeprefix("==") for each in found}


def requirements(path: Path) -> list[str]:
    """Return the pip requirements of a conda environment."""
    return next(entry["pip"] for entry in yaml.safe_load(path.read_text())["dependencies"] if isinstance(entry, dict))


def with_dependencies(wanted: list[str]) -> set[str]:
    """Return the canonical names of the distributions that pip would install for requirements.

    Markers are evaluated for this interpreter; an extra counts only if a requirement asks for it.

    Raises:
        PackageNotFoundError: a required distribution is not installed here.
    """
    found: set[tuple[str, str]] = set()
    left = [(Requirement(line), "") for line in wanted]
    while left:
        requirement, extra = left.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonical_name(requirement.name)
        for own in {"", *requirement.extras}:
            if (name, own) not in found:
                found.add((name, own))
                left += [(Requirement(line), own) for line in metadata.requires(name) or []]
    return {name for name, _ in found}


def hidden(path: Path) -> dict[str, list[str]]:
    """Return the ``distributions`` and top-level ``modules`` installed here but absent from an environment file."""
    provided = with_dependencies([line for line in requirements(path) if not line.startswith("--")]) | ALWAYS
    owners = {
        module: {canonical_name(owner) for owner in distributions}
        for module, distributions in metadata.packages_distributions().items()
    }
    installed = {canonical_name(each.name) for each in metadata.distributions()}
    return {
        "distributions": sorted(installed - provided),
        "modules": sorted(module for module, names in owners.items() if not names & provided),
    }


def write_python(file: Path, environment: Path) -> None:
    """Write a program ``python``: this interpreter with only the distributions of an environment file.

    Args:
        file: program to write.
        environment: environment file, as in envs/.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    record = file.with_name("hidden-distributions.json")
    record.write_text(json.dumps(hidden(environment)), encoding="utf-8")
    file.write_text(
        "#!/bin/sh\n"
        f"export HIDDEN_DISTRIBUTIONS={shlex.quote(str(record))}\n"
        f'export PYTHONPATH={shlex.quote(str(ISOLATION))}"${{PYTHONPATH:+:$PYTHONPATH}}"\n'
        f'exec {shlex.quote(sys.executable)} "$@"\n'
    )
    file.chmod(0o755)
