#!/usr/bin/env python3
"""Rebuild the demo's test sets from Debian packages: parallel segments and multiple-choice questions.

    build_testsets.py --out resources/demo --downloads DIR

Writes en-{de,es,fr}-segments.jsonl.zst and go-questions.jsonl.zst and prints the table of README.md. It reads the demo's corpus
in --out, which build_corpus.py makes first, and leaves out its texts. Packages found in --downloads are used as they are; the others are
downloaded there.

The choice is deterministic: candidates are taken in the order of a hash of seed and name. Needs what build_corpus.py needs.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard
from build_corpus import SEED, BuildError, PageParser, help_pages, package, rank, terms, write_jsonl

PAIRS = {"de": "de", "es": "es", "fr": "fr"}
"""Language to suffix of the package libreoffice-help-*; the other side of each pair is English."""
SEGMENTS = 300
SEGMENTS_OF_PAGE = 60  # at most, so that a few long pages are not all of the test set
CHARACTERS = range(30, 201)  # of a segment
WORDS = 4  # of a segment at least
QUESTIONS = 200
LONGEST_DEFINITION = 400  # characters
CHOICES = 4
LIMIT = 100_000  # bytes of a compressed file


def corpus(path: Path) -> list[dict[str, str]]:
    """Return the documents of a file of the demo corpus.

    Raises:
        BuildError: the file does not exist.
    """
    if not path.is_file():
        raise BuildError(f"{path}: no such file: make the corpus first (build_corpus.py)")
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        return [json.loads(line) for line in io.TextIOWrapper(stream, encoding="utf-8")]


def usable(segment: str) -> bool:
    """Return whether a block is a sentence or heading of suitable length, not a line of code."""
    return len(segment) in CHARACTERS and len(segment.split()) >= WORDS and segment[0].isalpha()


def aligned(english: dict[str, PageParser], pages: dict[str, PageParser]) -> Iterator[tuple[str, str, str]]:
    """Yield (name, English, other) for blocks of pages with the same elements in the same order."""
    for name, page in sorted(pages.items()):
        own = english.get(name)
        if own is not None and own.names == page.names:
            for i, (left, right) in enumerate(zip(own.blocks, page.blocks, strict=True)):
                if left != right and usable(left) and usable(right):
                    yield f"{name}#{i}", left, right


def segments(language: str, english: dict[str, PageParser], pages: dict[str, PageParser], out: Path) -> list[dict[str, str]]:
    """Choose pairs of segments; no side repeats or occurs in the demo corpus."""
    texts = {
        side: "\n".join(document["text"] for document in corpus(out / f"{side}-office.jsonl.zst")) for side in ("en", language)
    }
    candidates = sorted(aligned(english, pages), key=lambda pair: rank(pair[0]))
    chosen: list[dict[str, str]] = []
    seen: set[str] = set()
    taken: Counter[str] = Counter()
    for name, left, right in candidates:
        if len(chosen) == SEGMENTS:
            break
        page = name.partition("#")[0]
        new = seen.isdisjoint((left, right)) and left not in texts["en"] and right not in texts[language]
        if new and taken[page] < SEGMENTS_OF_PAGE:
            seen.update((left, right))
            taken[page] += 1
            chosen.append({"id": name, "en": left, language: right})
    return sorted(chosen, key=lambda pair: pair["id"])


def questions(rows: list[tuple[str, str, str, str]], out: Path) -> list[dict[str, Any]]:
    """Ask which of four terms of an ontology a definition describes, for terms not in the corpus.

    Definitions that contain their own term are left out. The wrong choices are drawn by a generator seeded with the term's identifier.
    """
    documents = corpus(out / "en-bio.jsonl.zst")
    known, text = {document["id"] for document in documents}, "\n".join(document["text"] for document in documents)
    others: dict[str, list[str]] = {}
    for _, ontology, term, _ in rows:
        others.setdefault(ontology, []).append(term)
    chosen: list[dict[str, Any]] = []
    for ident, ontology, term, definition in sorted(rows, key=lambda row: rank(row[0])):
        if len(chosen) == QUESTIONS:
            break
        said = term.lower() in definition.lower() or len(definition) > LONGEST_DEFINITION
        if said or ident in known or definition in text:
            continue
        draws = random.Random(int(hashlib.sha256(f"{SEED}:{ident}".encode()).hexdigest(), 16))
        choices = [term, *[other for other in draws.sample(others[ontology], CHOICES) if other != term][: CHOICES - 1]]
        draws.shuffle(choices)
        question = f"Which term is defined as: {definition}"
        chosen.append({"id": ident, "question": question, "choices": choices, "answer": choices.index(term)})
    return sorted(chosen, key=lambda record: record["id"])


def build(out: Path, downloads: Path, work: Path) -> None:
    """Make all files and print a row of the table for each."""
    print("| file | kind | items | bytes compressed | license | origin |")
    print("|---|---|--:|--:|---|---|")
    english = help_pages(package("libreoffice-help-en-us", downloads), work)
    for language, suffix in PAIRS.items():
        chosen = segments(language, english, help_pages(package(f"libreoffice-help-{suffix}", downloads), work), out)
        path = out / f"en-{language}-segments.jsonl.zst"
        size = write_jsonl(path, chosen, LIMIT)
        print(
            f"| `{path.name}` | parallel | {len(chosen)} | {size:,} | MPL-2.0 | as `en-office`, `{language}-office` |", flush=True
        )
    chosen = questions(terms(package("r-bioc-go.db", downloads), work), out)
    path = out / "go-questions.jsonl.zst"
    size = write_jsonl(path, chosen, LIMIT)
    print(f"| `{path.name}` | choices | {len(chosen)} | {size:,} | Artistic-2.0 | as `en-bio` |")


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the files, with those of the corpus")
    parser.add_argument("--downloads", type=Path, required=True, help="folder of the Debian packages")
    args = parser.parse_args()
    args.downloads.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="demo-testsets-") as work:
            build(args.out, args.downloads, Path(work))
    except BuildError as error:
        print(f"build_testsets.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
