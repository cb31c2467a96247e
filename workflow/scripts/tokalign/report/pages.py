"""Pages of the report for any browser, without network: a table with search and sorting, and the summary."""

from __future__ import annotations

import html
from collections.abc import Sequence

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; margin: 1rem auto; max-width: 75rem; padding: 0 1rem; color: #1a1a1a; background: #fff; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-bottom: 0.3rem; }
p.about { color: #444; max-width: 48rem; }
input { font: inherit; padding: 0.35rem 0.6rem; width: min(24rem, 90vw); border: 1px solid #767676; border-radius: 4px; }
.wide { overflow-x: auto; margin-top: 0.6rem; border: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid #e4e4e4; text-align: left; white-space: nowrap; }
th { position: sticky; top: 0; background: #f3f3f3; cursor: pointer; } th:hover { text-decoration: underline; }
td.number { text-align: right; } tr:hover td { background: #f7f9fc; }
tr[hidden] { display: none; }
ol li { margin: 0.5rem 0; } .fail { font-weight: 600; }
@media (max-width: 40rem) { body { font-size: 14px; margin: 0.5rem auto; padding: 0 0.6rem; } }
"""

SCRIPT = """
const rows = [...document.querySelectorAll('tbody tr')], shown = document.getElementById('shown');
function search(text) {
  const words = text.toLowerCase().split(/\\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const content = row.textContent.toLowerCase();
    row.hidden = !words.every(word => content.includes(word));
    count += !row.hidden;
  }
  shown.textContent = count + ' of ' + rows.length + ' rows';
}
document.getElementById('search').addEventListener('input', event => search(event.target.value));
document.querySelectorAll('th').forEach((head, column) => head.addEventListener('click', () => {
  const up = head.getAttribute('aria-sort') !== 'ascending';
  document.querySelectorAll('th').forEach(other => other.removeAttribute('aria-sort'));
  head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  const key = row => row.cells[column].textContent.trim();
  rows.sort((a, b) => {
    const x = key(a), y = key(b), p = parseFloat(x), q = parseFloat(y);
    if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
    const order = Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
    return up ? order : -order;
  });
  document.querySelector('tbody').append(...rows);
}));
search('');
"""


def _page(title: str, body: str, script: str = "") -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n"
        + (f"<script>{script}</script>\n" if script else "")
        + "</body></html>\n"
    )


def _number(text: str) -> bool:
    try:
        float(text.split(" ")[0])
    except ValueError:
        return False
    return True


def table_page(title: str, about: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a page with a searchable and sortable table.

    Args:
        title: title of the page.
        about: a paragraph of plain text about what is compared on which data.
        columns: headings.
        cells: text of each row, as in the CSV file.
    """
    head = "".join(f'<th scope="col">{html.escape(column.replace("_", " "))}</th>' for column in columns)
    lines = []
    for row in cells:
        inner = "".join(f"<td{' class=number' if _number(cell) else ''}>{html.escape(cell)}</td>" for cell in row)
        lines.append(f"<tr>{inner}</tr>")
    body = (
        f'<h1>{html.escape(title)}</h1>\n<p class="about">{html.escape(about)}</p>\n'
        '<label>Search <input id="search" type="search" placeholder="words that rows must contain"></label> <span id="shown"></span>\n'
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n' + "\n".join(lines) + "\n</tbody></table></div>"
    )
    return _page(title, body, SCRIPT)


def summary_page(title: str, sections: Sequence[tuple[str, Sequence[tuple[str, str]]]], notes: Sequence[str]) -> str:
    """Return the summary page.

    Args:
        title: title of the page.
        sections: name and lines (heading and text) of each adapted model.
        notes: notes on how to read the numbers.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for name, lines in sections:
        items = "".join(f"<li><b>{html.escape(head)}:</b> {html.escape(text)}</li>" for head, text in lines)
        parts.append(f"<h2>{html.escape(name)}</h2>\n<ol>{items}</ol>")
    parts += [f'<p class="about">{html.escape(note)}</p>' for note in notes]
    return _page(title, "\n".join(parts))
