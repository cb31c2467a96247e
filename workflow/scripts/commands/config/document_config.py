"""Write the tables of all configuration keys, made from the schema, into a page of the documentation.

They replace what stands between the lines <!-- schema:begin --> and <!-- schema:end -->. With --check nothing is written,
and the exit status is 1 if the page is out of date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tokalign.common import cli
from tokalign.common.errors import InputError
from tokalign.common.files import atomic_file
from tokalign.config.reference import documented
from tokalign.config.validation import load_schema


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--schema", type=Path, required=True, help="JSON schema of the configuration, as YAML")
    parser.add_argument("--readme", type=Path, required=True, help="Markdown page with the two markers")
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    return parser


def main(args: argparse.Namespace) -> None:
    """Write or check.

    Raises:
        InputError: a file is missing, or the page has no place for the tables.
    """
    for file in (args.schema, args.readme):
        if not file.is_file():
            raise InputError(f"{file}: no such file")
    page = args.readme.read_text(encoding="utf-8")
    wanted = documented(page, load_schema(args.schema), str(args.readme))
    if page == wanted:
        return
    if args.check:
        print(f"{args.readme}: its tables do not agree with {args.schema}; to mend: make docs", file=sys.stderr)
        sys.exit(1)
    with atomic_file(args.readme) as partial:
        partial.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main, arguments())
