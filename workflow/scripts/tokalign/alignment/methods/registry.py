"""The alignment methods as functions; ``tokalign.config.alignments`` has their names and keys."""

from __future__ import annotations

import importlib

from tokalign.alignment.align import Method
from tokalign.config.alignments import METHOD_ENTRIES


def load(name: str) -> Method:
    """Import the function of a method."""
    module, function = METHOD_ENTRIES[name].function.split(".")
    found: Method = getattr(importlib.import_module(f"tokalign.alignment.methods.{module}"), function)
    return found


METHODS = {name: load(name) for name in METHOD_ENTRIES}
