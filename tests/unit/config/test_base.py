"""Keys that are added to a block leave what was computed before as it is."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field
from tokalign.common.errors import ConfigurationError
from tokalign.config.base import ADDED, Block, LeftOut, filled
from tokalign.config.recipes import LoraSettings, StageSettings


class Inner(Block):
    width: int = 3


class Before(Block):
    rate: float = 1
    inner: Inner = filled()


class After(Before):
    share: Annotated[float, ADDED] = Field(0, ge=0, lt=1)
    limit: Annotated[int | None, ADDED] = None
    names: Annotated[list[str], ADDED] = Field(["a"])
    second: Annotated[Inner, ADDED] = filled()
    third: Annotated[Inner, ADDED] = filled(value={"width": 7})


NEW = {"share": 0.5, "limit": 4, "names": [], "second": {"width": 4}, "third": {"width": 3}}


@pytest.mark.parametrize("values", [{}, {"rate": 2, "inner": {"width": 5}}])
def test_a_block_that_says_nothing_of_added_keys_is_written_as_before(values):
    assert After.of(values).plain() == Before.of(values).plain()


def test_a_written_out_default_says_nothing():
    written = {"share": 0, "limit": None, "names": ["a"], "second": {"width": 3}, "third": {"width": 7}}
    assert After.of(written).plain() == After.of({"share": 0.0}).plain() == Before.of({}).plain()


@pytest.mark.parametrize("key", NEW)
def test_an_added_key_counts_where_it_is_not_at_its_default(key):
    assert After.of({key: NEW[key]}).plain() == Before.of({}).plain() | {key: NEW[key]}


def test_what_is_written_is_read_as_it_was():
    for values in ({}, NEW, {"share": 0.25}):
        block = After.of(values)
        assert After.of(block.plain()) == block


def test_added_keys_are_checked_like_others():
    with pytest.raises(ConfigurationError, match="share: out of bounds"):
        After.of({"share": 1})


def test_a_new_key_of_a_stage_does_not_make_a_training_another():
    """Neither the settings that the rule hands over nor the fingerprint of the saved states."""

    class Smoothed(StageSettings):
        smoothing: Annotated[float, ADDED] = Field(0, ge=0, lt=1)
        adapters: LeftOut[LoraSettings] = None

    given = {"name": "s", "train": "all", "steps": 4, "learning_rate": 0.1, "batch_tokens": 64}
    assert Smoothed.of(given).plain() == StageSettings.of(given).plain()
    assert Smoothed.of(given).content() == StageSettings.of(given).content()
    assert Smoothed.of(given | {"smoothing": 0.1}).content() == StageSettings.of(given).content() | {"smoothing": 0.1}
