"""Write the configuration's JSON schema, for editors, and its tables of keys from its types.

The tables replace the text between the lines <!-- schema:begin --> and <!-- schema:end --> of a documentation page.
With --check nothing is written, and the exit status is 1 if a file is out of date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tokalign.common import cli
from tokalign.common.errors import InputError
from tokalign.common.files import atomic_file
from tokalign.config.reference import documented, schema_text
from tokalign.config.schema import json_schema


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--schema", type=Path, required=True, help="YAML file for the JSON schema")
    parser.add_argument("--readme", type=Path, required=True, help="Markdown page with the two markers")
    parser.add_argument("--check", action="store_true", help="only report whether the files are up to date")
    return parser


def main(args: argparse.Namespace) -> None:
    """Write or check.

    Raises:
        InputError: the page is missing, or has no place for the tables.
    """
    if not args.readme.is_file():
        raise InputError(f"{args.readme}: no such file")
    page = args.readme.read_text(encoding="utf-8")
    wanted = {args.readme: documented(page, json_schema(), str(args.readme)), args.schema: schema_text()}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if args.check:
            print(f"{path}: does not agree with the types of the configuration; to mend: make docs", file=sys.stderr)
            continue
        with atomic_file(path) as partial:
            partial.write_text(wanted[path], encoding="utf-8")
    if args.check and stale:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main, arguments())
