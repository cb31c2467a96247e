"""Settings of the initialization block of an alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokalign.initialization.ablations import AblationSettings


@dataclass(frozen=True)
class InitialisationSettings:
    """The block ``initialization`` of an alignment; see the schema for the meaning of the fields."""

    untie: bool
    pad_to_multiple_of: int
    tied_rows: str
    norm_matching: str
    scale: dict[str, float]
    ablation: AblationSettings

    @classmethod
    def from_block(cls, block: Mapping[str, Any]) -> InitialisationSettings:
        """Return the settings of a block of the configuration."""
        return cls(**{**block, "ablation": AblationSettings(**block["ablation"])})

    @property
    def needs_categories(self) -> bool:
        """Whether rows are treated by how they were found."""
        return self.norm_matching != "none" or set(self.scale.values()) != {1}
