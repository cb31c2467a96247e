#!/usr/bin/env python3
"""Rebuild the demo corpus from its origins: Debian packages and the Python standard library.

    build_corpus.py --out resources/demo --downloads DIR

Writes {en,de,es,fr,ru,zh,ja,hi}-office.jsonl.zst, en-bio.jsonl.zst and python-code.jsonl.zst and prints the
table of README.md. Packages found in --downloads are used as they are; the others are downloaded there. The
Python standard library is that of the interpreter that runs this script.

The choice of documents is deterministic: they are taken in the order of a hash of seed and page name until
the budget of the file is reached. Names are the same in all languages, so their files have mostly the same pages.

Needs Python >= 3.11 with zstandard; apt-get (with package lists: apt-get update) and dpkg-deb.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shlex
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import zstandard

SEED = "tokalign-demo-1"
LEVEL = 19  # of zstd
LIMIT = 1_000_000  # bytes of a compressed file
HELP = {"en": "en-us", "de": "de", "es": "es", "fr": "fr", "ru": "ru", "zh": "zh-cn", "ja": "ja", "hi": "hi"}
"""Language to suffix of the package libreoffice-help-*; English is first: the others are compared with it."""
LONG_BLOCK = 80  # bytes; a help text of this size or more is kept on one page only
NOT_CODE = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data"}
"""Folders that hold no code of the standard library, or only tests, character tables and help texts."""
MACHINE = re.compile(r"_sysconfigdata|config-")
"""Beginnings of the names of files and folders that are made where Python is built."""

Document = tuple[str, str]  # id and text


class BuildError(Exception):
    """An error that the maintainer can fix, in one line."""


@dataclass(frozen=True)
class Selection:
    """The choice of documents for a file."""

    budget: int  # bytes of text (UTF-8) of the file at most
    shortest: int  # characters of a document at least
    longest: int  # characters of a document at most

    def take(self, documents: Iterable[Document]) -> list[Document]:
        """Return documents without duplicates, within the bounds and the budget, in order of their ids."""
        unique = {text: ident for ident, text in reversed(list(documents))}
        fit = [(ident, text) for text, ident in unique.items() if self.shortest <= len(text) <= self.longest]
        taken, total = [], 0
        for ident, text in sorted(fit, key=lambda document: rank(document[0])):
            total += len(text.encode())
            if total > self.budget:
                break
            taken.append((ident, text))
        return sorted(taken)


OFFICE = Selection(budget=3_600_000, shortest=300, longest=20_000)
OFFICE_IN = {  # Chinese and Japanese say more in a character; most of the Hindi help is not translated
    "zh": Selection(budget=3_600_000, shortest=150, longest=20_000),
    "ja": Selection(budget=3_600_000, shortest=150, longest=20_000),
    "hi": Selection(budget=3_600_000, shortest=100, longest=20_000),
}
BIOLOGY = Selection(budget=2_500_000, shortest=300, longest=20_000)
CODE = Selection(budget=4_400_000, shortest=300, longest=50_000)


def rank(ident: str) -> str:
    """Return a document's rank in the order of choice: a hash of seed and name without language."""
    name = re.sub(r"^office-\w+/", "", ident)
    return hashlib.sha256(f"{SEED}:{name}".encode()).hexdigest()


# -------------------- packages


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a command and return its standard output.

    Raises:
        BuildError: the program is missing or fails.
    """
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, check=True, text=True).stdout
    except FileNotFoundError as error:
        raise BuildError(f"needs the program {command[0]} (a Debian or Ubuntu system)") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{shlex.join(command)}: {error.stderr.strip()}") from error


def package(name: str, downloads: Path) -> Path:
    """Return the file of a Debian package, downloaded if it is not yet in the folder.

    Raises:
        BuildError: the download failed, or there is more than one version in the folder.
    """
    if not any(downloads.glob(f"{name}_*.deb")):
        run("apt-get", "download", name, cwd=downloads)
    found = list(downloads.glob(f"{name}_*.deb"))
    if len(found) != 1:
        raise BuildError(f"{downloads}/{name}_*.deb: expected one file, found {len(found)}")
    return found[0]


def unpack(deb: Path, work: Path) -> Path:
    """Unpack a Debian package in the work folder and return its root."""
    root = work / deb.name.partition("_")[0]
    run("dpkg-deb", "-x", str(deb), str(root))
    return root


# -------------------- texts


class PageParser(HTMLParser):
    """Collect the visible text of a help page: one block per heading, paragraph, list item or table cell.

    Listings (``pre``) are left out, because they are the same in every language.
    """

    block = re.compile(r"h[1-6]|p|pre|li|d[dlt]|t[dhr]|table|[uo]l|div").fullmatch
    unseen = re.compile(r"script|style|noscript|nav|aside|header|footer|button|pre").fullmatch

    def __init__(self) -> None:
        """Start with no blocks."""
        super().__init__()
        self.blocks: list[str] = []
        self.names: list[tuple[str, str]] = []  # tag and id of the element that each block is in
        self.parts: list[str] = []
        self.name = ("", "")
        self.skipped, self.depth = "", 0

    def flush(self, name: tuple[str, str] = ("", "")) -> None:
        """Close the open block; the next one gets the name."""
        if text := " ".join("".join(self.parts).split()):
            self.blocks.append(text)
            self.names.append(self.name)
        self.parts, self.name = [], name

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Start a block, or start to skip invisible text."""
        given = {key: value or "" for key, value in attrs}
        ident, kind = given.get("id", ""), given.get("class")
        # The variants for each system and program are all `hidden`: one of them is kept.
        variant = "hidden" in given and not ident.startswith("default") and kind != "WRITER"
        if self.skipped:
            self.depth += tag == self.skipped
        elif self.unseen(tag) or variant or (tag == "div" and kind == "header"):
            self.flush()
            self.skipped, self.depth = tag, 1
        elif self.block(tag):
            self.flush((tag, ident))
        elif tag == "br":
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """End a block or a skipped part."""
        if self.skipped:
            self.depth -= tag == self.skipped
            self.skipped = self.skipped if self.depth else ""
        elif self.block(tag):
            self.flush()

    def handle_data(self, data: str) -> None:
        """Keep text that is not skipped."""
        if not self.skipped:
            self.parts.append(data)


def help_pages(deb: Path, work: Path) -> dict[str, PageParser]:
    """Return each page of a package libreoffice-help-*, parsed, by page name."""
    (root,) = (unpack(deb, work) / "usr/share/libreoffice/help").glob("*/text")
    start, end = '<div id="DisplayArea"', '<div id="SearchFrame"'
    pages = {}
    for path in sorted(root.rglob("*.html")):
        parser = PageParser()
        parser.feed(start + path.read_text(encoding="utf-8").partition(start)[2].partition(end)[0])
        parser.close()
        parser.flush()
        pages[path.relative_to(root).with_suffix("").as_posix()] = parser
    return pages


def office(language: str, pages: dict[str, list[str]], english: dict[str, list[str]]) -> Iterator[Document]:
    """Yield a document per help page, without untranslated paragraphs and long duplicates of other pages."""
    seen: set[str] = set()
    for name in sorted(pages, key=rank):
        untranslated = set() if language == "en" else set(english.get(name, ()))
        blocks = [block for block in pages[name] if block not in untranslated and block not in seen]
        seen.update(block for block in blocks if len(block.encode()) >= LONG_BLOCK)
        yield f"office-{language}/{name}", "\n\n".join(blocks)


def terms(deb: Path, work: Path) -> list[tuple[str, str, str, str]]:
    """Return the Gene Ontology terms (identifier, ontology, term, definition), in order of identifiers."""
    query = (
        "SELECT go_id, ontology, term, definition FROM go_term "
        "WHERE ontology IN ('BP', 'CC', 'MF') AND definition != '' ORDER BY go_id"
    )
    connection = sqlite3.connect(next(unpack(deb, work).rglob("GO.sqlite")))
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def biology(deb: Path, work: Path) -> list[Document]:
    """Return a document per term of the Gene Ontology: the term and its definition."""
    return [(ident, f"{term}\n{definition}") for ident, _, term, definition in terms(deb, work)]


def code(root: Path) -> Iterator[Document]:
    """Yield the modules of the Python standard library that are plain UTF-8, without its tests."""
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if NOT_CODE.isdisjoint(name.parts) and not any(MACHINE.match(part) for part in name.parts):
            text = path.read_bytes().decode("utf-8", "replace")
            if "\ufffd" not in text:
                yield f"stdlib/{name.as_posix()}", text


# -------------------- output


def write_jsonl(path: Path, records: list[dict[str, Any]], limit: int) -> int:
    """Write a compressed JSONL file, complete or not at all, and return its size in bytes.

    Raises:
        BuildError: there are no records, or the file is larger than the limit.
    """
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    data = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(lines.encode())
    if not records or len(data) > limit:
        raise BuildError(f"{path.name}: {len(records)} records, {len(data)} bytes: mend what is chosen")
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)
    return len(data)


def write(path: Path, documents: list[Document]) -> str:
    """Write a file of documents and return its figures for the table."""
    compressed = write_jsonl(path, [{"id": ident, "text": text} for ident, text in documents], LIMIT)
    size = sum(len(text.encode()) for _, text in documents)
    return f"{len(documents):,} | {size:,} | {compressed:,}"


def build(out: Path, downloads: Path, work: Path) -> None:
    """Make all files and print a row of the table for each."""
    print("| file | language | domain | documents | bytes of text | bytes compressed | license | origin |")
    print("|---|---|---|--:|--:|--:|---|---|")

    def add(language: str, domain: str, documents: list[Document], license: str, origin: str) -> None:
        path = out / f"{language}-{domain}.jsonl.zst"
        figures = write(path, documents)
        print(f"| `{path.name}` | {language} | {domain} | {figures} | {license} | {origin} |", flush=True)

    def version(deb: Path) -> str:
        return "Debian " + run("dpkg-deb", "-W", "--showformat=${Package} ${Version}", str(deb))

    english: dict[str, list[str]] = {}
    for language, suffix in HELP.items():
        deb = package(f"libreoffice-help-{suffix}", downloads)
        pages = {name: page.blocks for name, page in help_pages(deb, work).items()}
        english = english or pages
        documents = OFFICE_IN.get(language, OFFICE).take(office(language, pages, english))
        add(language, "office", documents, "MPL-2.0", version(deb))
    deb = package("r-bioc-go.db", downloads)
    add("en", "bio", BIOLOGY.take(biology(deb, work)), "Artistic-2.0", version(deb))
    documents = CODE.take(code(Path(sysconfig.get_path("stdlib"))))
    add("python", "code", documents, "PSF-2.0", f"CPython {platform.python_version()}, standard library")


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--downloads", type=Path, required=True, help="folder of the Debian packages")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.downloads.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="demo-corpus-") as work:
            build(args.out, args.downloads, Path(work))
    except BuildError as error:
        print(f"build_corpus.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
