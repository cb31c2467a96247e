"""What the commands of all rules do with settings and with errors."""

from __future__ import annotations

import argparse
import errno
import io
import json
import sys
from collections.abc import Callable

import pytest
from pydantic import Field
from tokalign.common import cli
from tokalign.common.errors import ArtifactError, ConfigurationError, InputError, StageStoppedError, TokalignError
from tokalign.config.base import Block


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[[Exception | None], tuple[int, str]]:
    """Return a function that runs a command which raises an error, and returns its exit status and stderr."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/do_it.py"])

    def command(error: Exception | None) -> tuple[int, str]:
        def main(args: argparse.Namespace) -> None:
            if error:
                raise error

        try:
            cli.run(main, cli.parser("Do it."))
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, capsys.readouterr().err

    return command


def test_success(run):
    assert run(None) == (0, "")


@pytest.mark.parametrize("kind", [TokalignError, ConfigurationError, InputError, ArtifactError])
def test_error_that_can_be_mended(run, kind):
    assert run(kind("a.json: wrong", found=3, expected="4", mend="count again")) == (
        1,
        "do_it: error: a.json: wrong\n  found:    3\n  expected: 4\n  to mend:  count again\n",
    )


def test_message_has_only_the_parts_that_are_known(run):
    assert run(InputError("a.json: wrong"))[1] == "do_it: error: a.json: wrong\n"
    assert run(InputError("a.json: wrong", found=0))[1] == "do_it: error: a.json: wrong\n  found:    0\n"


def test_stopped_stage(run):
    status, text = run(StageStoppedError("step 3 of 9 is saved", mend="run the same command again"))
    assert status == 75  # EX_TEMPFAIL of sysexits.h
    assert text == "do_it: stopped, to be continued: step 3 of 9 is saved\n  to mend:  run the same command again\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(run, tmp_path, number):
    status, text = run(OSError(number, "some text", str(tmp_path / "not/yet/there.bin")))
    assert status == 1
    assert text.startswith("do_it: error: the disk is full: ")
    assert f"MB free on the file system of {tmp_path}\n" in text
    assert "to mend:  free space there" in text


def test_full_disk_without_a_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, text = run(OSError(errno.ENOSPC, "No space left on device"))
    assert (status, f"of {tmp_path}\n" in text) == (1, True)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "input/output"), PermissionError(errno.EACCES, "no"), ValueError("a bug")])
def test_other_errors_keep_their_traceback(run, error):
    with pytest.raises(type(error)):
        run(error)


def test_settings(tmp_path):
    assert cli.settings(' {"a": [1, null]}') == {"a": [1, None]}
    (tmp_path / "s.json").write_text('{"b": 2}')
    assert cli.settings(str(tmp_path / "s.json")) == {"b": 2}
    (tmp_path / "list.json").write_text("[1]")
    for text in ('{"a": ', str(tmp_path / "missing.json"), "", "a" * 5000):
        with pytest.raises(argparse.ArgumentTypeError, match="neither a JSON object nor a JSON file"):
            cli.settings(text)
    with pytest.raises(argparse.ArgumentTypeError, match="expected a JSON object"):
        cli.settings(str(tmp_path / "list.json"))


def test_settings_from_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": "%s"}' % ("x" * 200_000)))  # more than Linux allows for an argument
    assert cli.settings("-") == {"a": "x" * 200_000}
    monkeypatch.setattr(sys, "stdin", io.StringIO("no JSON"))
    with pytest.raises(argparse.ArgumentTypeError, match="neither a JSON object nor a JSON file"):
        cli.settings("-")


class Lamp(Block):
    """A block of settings."""

    watts: int = Field(ge=1)
    color: str = "white"


def test_a_block_of_settings_is_checked_and_filled_in(monkeypatch, capsys):
    parser = cli.parser("Do it.")
    cli.add_settings(parser, Lamp, "--lamp")
    assert parser.parse_args(["--lamp", '{"watts": 3}']).lamp == Lamp(watts=3, color="white")
    assert "- for standard input: watts, color" in " ".join(parser.format_help().split())
    monkeypatch.setattr(sys, "argv", ["/somewhere/do_it.py", "--lamp", '{"watts": 3, "colour": "red"}'])
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda args: None, parser)
    assert (stop.value.code, capsys.readouterr().err) == (
        1, "do_it: error: lamp.colour: unknown key\n  found:    'colour'\n  to mend:  did you mean 'color'?\n",
    )  # fmt: skip


def test_options_are_not_abbreviated():
    """A typing error must not pass as another option."""
    parser = cli.parser("Do it.")
    parser.add_argument("--settings", type=cli.settings)
    with pytest.raises(SystemExit):
        parser.parse_args(["--set", json.dumps({})])
