"""Hides distributions from this interpreter: Python imports this file at its start if its folder is on PYTHONPATH.

``HIDDEN_DISTRIBUTIONS`` names a JSON file that ``support/environments.py`` writes: ``distributions`` (names as PEP 503 writes
them) and ``modules`` (their top-level modules). A hidden module is not found, and ``importlib.metadata`` does not know a hidden
distribution; so libraries that ask whether a package is there are told that it is not. Folders that a ``.pth`` file added to the
path are left out too: another environment does not have them.
"""

import importlib.machinery
import json
import os
import re
import site
import sys
from importlib.metadata import Distribution

with open(os.environ["HIDDEN_DISTRIBUTIONS"], encoding="utf-8") as file:
    HIDDEN = json.load(file)
MODULES, DISTRIBUTIONS = frozenset(HIDDEN["modules"]), frozenset(HIDDEN["distributions"])


class Finder(importlib.machinery.PathFinder):
    """Python's own finder of modules in folders, without what is hidden."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        """Return the spec of a module, or None if it is hidden or not there."""
        return None if path is None and fullname in MODULES else super().find_spec(fullname, path, target)

    @classmethod
    def find_distributions(cls, *args, **kwargs):
        """Yield the distributions that are not hidden."""
        found: Distribution
        for found in super().find_distributions(*args, **kwargs):
            if re.sub(r"[-_.]+", "-", found.name).lower() not in DISTRIBUTIONS:
                yield found


sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Finder
installed = {os.path.realpath(folder) for folder in site.getsitepackages()}
wanted = {os.path.realpath(folder) for folder in os.environ["PYTHONPATH"].split(os.pathsep)}
sys.path[:] = [
    folder
    for folder in sys.path
    if os.path.realpath(folder) in installed | wanted or os.path.realpath(folder).startswith(os.path.realpath(sys.base_prefix))
]
