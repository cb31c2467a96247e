"""Score an alignment on held-out documents: BLEU and similarity of text rewritten by it, coverage, unreachable tokens."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.evaluations import AlignmentScores, EmbedderSettings, PairSettings


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--tokens", type=Path, required=True, help="tokens.parquet of the alignment")
    for side in ("source", "target"):
        parser.add_argument(f"--{side}-tokenizer", type=Path, required=True, help="resolved tokenizer folder")
        parser.add_argument(f"--{side}-vocabulary", type=Path, required=True, help="its vocabulary.parquet")
    parser.add_argument("--documents", type=Path, required=True, help="documents.parquet of the evaluation")
    cli.add_settings(parser, AlignmentScores)
    parser.add_argument("--fetched", type=Path, help="folder of the fetch rule, for an embedder from a wheel or the hub")
    parser.add_argument("--labels", type=cli.settings, default={}, help="JSON object copied into the result")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the embedder")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Score and write."""
    from tokalign.alignment.align import Side
    from tokalign.common.files import write_json
    from tokalign.evaluation.suites.alignment.scores import evaluate_alignment

    embedder = None
    if args.settings.embedder:
        import torch
        from tokalign.evaluation.suites.alignment.embedder import load_embedder
        from tokalign.fetch.sources import locate

        torch.set_num_threads(args.threads)
        folder = locate(args.settings.embedder.plain(), args.fetched).path
        how, pairs = args.settings.part(EmbedderSettings), args.settings.part(PairSettings)
        embedder = (load_embedder(folder, how.layer), how, pairs)
    target, source = (
        Side.read(folder, vocabulary)
        for folder, vocabulary in (
            (args.target_tokenizer, args.target_vocabulary),
            (args.source_tokenizer, args.source_vocabulary),
        )
    )
    write_json(args.output, evaluate_alignment(args.tokens, target, source, args.documents, args.labels, embedder))


if __name__ == "__main__":
    cli.run(main, arguments())
