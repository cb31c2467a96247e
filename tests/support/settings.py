"""Settings for tests, not validated, so that values may be smaller than a configuration allows."""

from __future__ import annotations

from typing import Any, TypeVar

from tokalign.config.base import Block

Settings = TypeVar("Settings", bound=Block)


def altered(settings: Settings, **values: Any) -> Settings:
    """Return settings with other values."""
    return settings.model_copy(update=values)


def unchecked(kind: type[Settings], **values: Any) -> Settings:
    """Return settings with these values and defaults for the rest."""
    return kind.model_construct(**values)
