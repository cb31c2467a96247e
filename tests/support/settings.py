"""Settings for tests: smaller or other values than a configuration may have, so they are not checked."""

from __future__ import annotations

from typing import Any, TypeVar

from tokalign.config.base import Block

Settings = TypeVar("Settings", bound=Block)


def altered(settings: Settings, **values: Any) -> Settings:
    """Return settings with other values."""
    return settings.model_copy(update=values)


def unchecked(kind: type[Settings], **values: Any) -> Settings:
    """Return settings of these values and of the defaults of others."""
    return kind.model_construct(**values)
