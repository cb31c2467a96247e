"""A wrong key, a missing key or a wrong type in the settings of any command gives one message that names the key."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys

import commands
import pytest
from tokalign.common import cli

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(commands.__path__, "commands.")
    if not found.ispkg and found.name != "commands.training.launch_training"  # it hands its options to train_stage
]
OPTIONS = [
    pytest.param(
        module, action.option_strings[0], action.type.kind, id=f"{module.__name__.split('.')[-1]}{action.option_strings[0]}"
    )
    for module in MODULES
    for action in module.arguments()._actions
    if isinstance(action.type, cli.BlockOption)
]


@pytest.fixture
def refused(monkeypatch, capsys):
    """Return a function that runs a command with one option and returns the message that it ends with."""

    def message(module, option, values):
        monkeypatch.setattr(sys, "argv", ["command.py", option, json.dumps(values)])
        with pytest.raises(SystemExit) as stop:
            cli.run(module.main, module.arguments())
        assert stop.value.code == 1
        text = capsys.readouterr().err
        assert text.startswith("command: error: ") and text.count("error:") == 1
        return text.removeprefix("command: error: ")

    return message


def test_all_commands_with_settings_check_them():
    for module in MODULES:
        for action in module.arguments()._actions:
            if {"--settings", "--execution", "--plan"} & set(action.option_strings):
                assert isinstance(action.type, cli.BlockOption), module.__name__
    assert len(OPTIONS) >= 28


@pytest.mark.parametrize(("module", "option", "kind"), OPTIONS)
def test_wrong_key(refused, module, option, kind):
    first = next(iter(kind.model_fields))
    text = refused(module, option, {f"{first}x": 1})
    assert text.startswith(f"{option[2:]}.{first}x: unknown key") and f"did you mean '{first}'?" in text


@pytest.mark.parametrize(("module", "option", "kind"), OPTIONS)
def test_missing_key(refused, module, option, kind):
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    if not required:  # then nothing is missing: all keys have defaults
        assert kind.of({}) == kind()
        return
    text = refused(module, option, {})
    assert text.startswith(f"{option[2:]}.{required[0]}: missing key") and f"add '{required[0]}' to {option[2:]}" in text


@pytest.mark.parametrize(("module", "option", "kind"), OPTIONS)
def test_wrong_type(refused, module, option, kind):
    """No key takes a list of lists of lists."""
    for key in kind.model_fields:
        text = refused(module, option, {key: [[[]]]})
        assert text.startswith((f"{option[2:]}.{key}: ", f"{option[2:]}.{key}[0]: ")), text
        assert "found:    [[" in text and "expected: " in text
