"""Tables as files: CSV for computing, Markdown and LaTeX (booktabs) for publishing, a page for searching."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tokalign.common.errors import ArtifactError
from tokalign.common.files import atomic_file
from tokalign.report.pages import table_page

log = logging.getLogger(__name__)

Row = dict[str, Any]

MOST_SHOWN = 200
"""Rows of a Markdown or LaTeX table; a longer one gives the number of rows left to the CSV file."""


def caption(folder: str | Path, name: str) -> str:
    """Return the caption of a table in the report, as plain text.

    Args:
        folder: folder of the captions (reStructuredText).
        name: name of the table.

    Raises:
        ArtifactError: there is no caption.
    """
    file = Path(folder, f"{name}.rst")
    if not file.is_file():
        raise ArtifactError(f"{file}: no such file", expected="what the report says of the table", mend="write it")
    return " ".join(file.read_text(encoding="utf-8").replace("``", "").split())


def write_table(folder: str | Path, name: str, about: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a table as ``name.csv``, ``.md``, ``.tex`` and ``.html``.

    Columns empty in all rows are only in the CSV file.

    Args:
        folder: folder for the files.
        name: name of the table.
        about: description of the table, a paragraph of plain text.
        columns: keys of the rows, in order.
        rows: rows of the table.
    """
    folder = Path(folder)
    write_csv(folder / f"{name}.csv", columns, rows)
    shown = [column for column in columns if not rows or any(row.get(column) is not None for row in rows)]
    cells = [[cell_text(row.get(column)) for column in shown] for row in rows]
    title = name.replace("_", " ").capitalize()
    frame = pd.DataFrame(cells[:MOST_SHOWN], columns=[column.replace("_", " ") for column in shown], dtype=str)
    rest = len(cells) - MOST_SHOWN
    more = f"\n{rest} more rows are in {name}.csv.\n" if rest > 0 else ""
    markdown = frame.to_markdown(index=False, disable_numparse=True)
    latex = frame.to_latex(index=False, escape=True, caption=_latex(about), label=f"tab:{name}")
    for suffix, text in (
        ("md", f"# {title}\n\n{about}\n\n{markdown}\n{more}"),
        ("tex", f"% {about}\n% Needs \\usepackage{{booktabs}}.\n{latex}" + (f"% {more.strip()}\n" if more else "")),
        ("html", table_page(title, about, shown, cells)),
    ):
        with atomic_file(folder / f"{name}.{suffix}") as partial:
            partial.write_text(text, encoding="utf-8")


def _latex(text: str) -> str:
    """Escape text for LaTeX."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)


def cell_text(value: Any) -> str:
    """Format a value: nothing if missing, six digits of a real number."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)


def write_csv(path: str | Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write rows as CSV (UTF-8, comma, LF); extra keys are ignored, missing ones are empty."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([cell_text(row.get(column)) for column in columns] for row in rows)
    log.info("%s: %d rows", path, len(rows))


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Read a table that :func:`write_csv` wrote; all values are text, empty where missing.

    Raises:
        ArtifactError: no such file.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file", mend="make the tables first") from error
