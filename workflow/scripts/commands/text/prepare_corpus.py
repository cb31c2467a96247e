"""Prepare a corpus: sample, de-duplicate, split and shuffle documents into Parquet shards.

Settings: a `corpora` block of the configuration. Fetched data sets are given as --fetched NAME=FOLDER.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import atomic_directory, write_json
from tokalign.config.corpora import Corpus, CorpusSettings
from tokalign.config.lookup import local_files
from tokalign.text.corpus import Source, prepare_corpus


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, Corpus)
    parser.add_argument("--fetched", nargs="*", default=[], metavar="NAME=FOLDER", help="Parquet files of sources from the hub")
    parser.add_argument("--text", type=Path, required=True, help="folder to write the shards to")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Read the sources, write the shards and the manifest."""
    fetched = dict(item.split("=", 1) for item in args.fetched)
    sources = [
        Source(
            name=name,
            files=tuple(local_files(block.files or [f"{fetched[name]}/*.parquet"], f"source {name}")),
            text_field=block.text_field if block.files else "text",
            language=block.language,
            domain=block.domain,
            license=block.license,
            weight=block.weight,
        )
        for name, block in args.settings.sources.items()
    ]
    with atomic_directory(args.text) as folder:
        manifest = prepare_corpus(sources, args.settings.part(CorpusSettings), folder)
    write_json(args.manifest, manifest)


if __name__ == "__main__":
    cli.run(main, arguments())
