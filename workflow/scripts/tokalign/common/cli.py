"""Shared by all commands: settings options, logging, and errors shown as one message."""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from tokalign.common.errors import EXIT_CONTINUE, StageStoppedError, TokalignError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class Block(Protocol):
    """Interface of a settings block; the types of ``tokalign.config`` implement it."""

    model_fields: ClassVar[dict[str, Any]]

    @classmethod
    def of(cls, values: dict[str, Any], place: str) -> Self:
        """Check values and fill in defaults; ``place`` names the block in errors."""


def settings(text: str) -> dict[str, Any]:
    """Parse an option's value: JSON, a JSON file, or ``-`` for standard input.

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    try:
        if text == "-":
            value = json.load(sys.stdin)
        else:
            value = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError, AttributeError) as error:  # AttributeError: standard input is closed
        what = "standard input" if text == "-" else repr(text)
        raise argparse.ArgumentTypeError(f"neither a JSON object nor a JSON file: {what} ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, found {text!r}")
    return value


@dataclass(frozen=True)
class BlockOption:
    """Type of an option for a settings block, checked as in the configuration.

    Attributes:
        kind: type of the block.
        place: name of the block in errors.
    """

    kind: type[Block]
    place: str

    def __call__(self, text: str) -> Block:
        """Parse and check the value.

        Raises:
            argparse.ArgumentTypeError: it is not a JSON object.
            ConfigurationError: a key is unknown or missing, or a value is wrong.
        """
        return self.kind.of(settings(text), self.place)


def add_settings(command: argparse.ArgumentParser, kind: type[Block], option: str = "--settings") -> None:
    """Add an option for a block of settings; its help names the keys.

    Args:
        command: the parser.
        kind: type of the block.
        option: name of the option.
    """
    words = f"JSON, a JSON file, or - for standard input: {', '.join(kind.model_fields)}"
    command.add_argument(option, type=BlockOption(kind, option.lstrip("-")), required=True, metavar="JSON", help=words)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the script's docstring."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def run(main: Callable[[argparse.Namespace], None], arguments: argparse.ArgumentParser) -> None:
    """Run a script, log to stderr, and print user errors as one message.

    Exit status: 0 success; 1 error; 75 (``EXIT_CONTINUE``) stopped in time with a state to continue from.
    """
    name = Path(sys.argv[0]).stem
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=f"%(asctime)s {name}: %(message)s", datefmt="%H:%M:%S")
    for noisy in ("httpx", "numba", "urllib3", "fsspec", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        main(arguments.parse_args())
    except StageStoppedError as stop:
        print(f"{name}: stopped, to be continued: {stop}", file=sys.stderr, flush=True)
        sys.exit(EXIT_CONTINUE)
    except TokalignError as error:
        print(f"{name}: error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        where = Path(error.filename) if error.filename else Path.cwd()
        folder = next(p for p in (where, *where.absolute().parents) if p.is_dir())
        free = shutil.disk_usage(folder).free
        print(
            f"{name}: error: the disk is full: {os.strerror(error.errno)}\n"
            f"  found:    {free / 1e6:.0f} MB free on the file system of {folder}\n"
            "  to mend:  free space there or move the working folder, then run the same command again; "
            "nothing half-written was left",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(1)
