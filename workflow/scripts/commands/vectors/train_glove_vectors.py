"""Train GloVe vectors of tokens from their co-occurrences."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from tokalign.common import cli
from tokalign.common.files import write_json
from tokalign.common.progress import Progress
from tokalign.config.vectors import GloveSettings
from tokalign.vectors.cooccurrence import read_cooccurrences
from tokalign.vectors.glove import train_glove
from tokalign.vectors.vectors import Vectors, write_vectors

log = logging.getLogger(__name__)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--cooccurrences", type=Path, required=True, metavar="FILE", help="counts, safetensors")
    cli.add_settings(parser, GloveSettings)
    parser.add_argument("--threads", type=int, required=True, metavar="N", help="number of threads")
    parser.add_argument("--vectors", type=Path, required=True, metavar="FILE", help="vectors to write, safetensors")
    parser.add_argument("--objective", type=Path, required=True, metavar="FILE", help="objective per iteration, JSON")
    return parser


def main(args: argparse.Namespace) -> None:
    """Train and write."""
    settings = args.settings
    cooccurrences = read_cooccurrences(args.cooccurrences)
    progress = Progress("non-zeros trained on", settings.iterations * len(cooccurrences.indices), "non-zeros")
    vectors, objective = train_glove(cooccurrences, settings, args.threads, progress)
    progress.close(f"objective {objective[-1]:.5f}" if objective else "")
    metadata = {"glove": settings.plain(), "vocabulary_size": cooccurrences.vocabulary_size}
    write_vectors(args.vectors, Vectors(vectors, cooccurrences.token_ids, cooccurrences.counts, metadata))
    write_json(args.objective, {"method": "glove", "objective": objective, "settings": settings.plain()})


if __name__ == "__main__":
    cli.run(main, arguments())
