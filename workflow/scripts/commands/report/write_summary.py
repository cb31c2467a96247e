"""Write the summary of all evaluations: five lines for each adapted model, as Markdown and as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import atomic_file, read_json
from tokalign.report.pages import summary_page
from tokalign.report.summary import NOTES, summarize


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--comparisons", type=Path, nargs="+", required=True, metavar="FILE", help="comparison.json files")
    parser.add_argument("--markdown", type=Path, required=True, help="file to write")
    parser.add_argument("--page", type=Path, required=True, help="HTML file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Read, summarize, write."""
    sections = [section for file in args.comparisons for section in summarize(read_json(file))]
    text = "# Summary\n"
    for name, lines in sections:
        text += f"\n## {name}\n\n" + "".join(f"{i}. **{head}:** {line}\n" for i, (head, line) in enumerate(lines, 1))
    text += "".join(f"\n{note}\n" for note in NOTES)
    for file, content in ((args.markdown, text), (args.page, summary_page("Summary", sections, NOTES))):
        with atomic_file(file) as partial:
            partial.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main, arguments())
