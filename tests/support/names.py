"""Wildcards as Snakemake gives them to functions of the rules."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView
from types import SimpleNamespace


class Names(SimpleNamespace):
    """Names as attributes, with items and unpacking, but not a mapping."""

    def items(self) -> ItemsView[str, str]:
        return vars(self).items()

    def keys(self) -> KeysView[str]:
        return vars(self).keys()

    def __getitem__(self, name: str) -> str:
        return getattr(self, name)
