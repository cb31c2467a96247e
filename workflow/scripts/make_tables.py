"""Make the tables of all results; each table is written if its option is given."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign import cli, tables
from tokalign.files import read_json


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    for option, what in (
        ("--perplexity", "perplexity.json files"),
        ("--tokenizers", "results of evaluate_tokenizer.py"),
        ("--alignments", "report.json files of alignments"),
        ("--alignment-scores", "results of evaluate_alignment.py"),
        ("--stages", "folders of finished training stages (metrics.jsonl and training.json)"),
    ):
        parser.add_argument(option, type=Path, nargs="*", default=[], metavar="FILE", help=what)
    for option, what in (
        ("--perplexity-csv", "a row per checkpoint and group"),
        ("--bits-per-byte-csv", "a row per language and domain, a column per stage"),
        ("--tokenizers-csv", "a row per tokenizer and group"),
        ("--alignments-csv", "a row per alignment and category"),
        ("--alignment-scores-csv", "a row per alignment, metric and group"),
        ("--training-csv", "a row per logged training step"),
    ):
        parser.add_argument(option, type=Path, metavar="FILE", help=f"table to write: {what}")
    return parser


def main(args: argparse.Namespace) -> None:
    """Read results, write tables."""
    perplexity = tables.perplexity_rows(tables.read_results(args.perplexity, ("labels", "metrics")))
    if args.perplexity_csv:
        tables.write_csv(args.perplexity_csv, tables.PERPLEXITY, perplexity)
    if args.bits_per_byte_csv:
        tables.write_csv(args.bits_per_byte_csv, *tables.stage_rows(perplexity))
    if args.tokenizers_csv:
        results = tables.read_results(args.tokenizers, ("labels", "overall", "groups"))
        tables.write_csv(args.tokenizers_csv, tables.TOKENIZERS, tables.tokenizer_rows(results))
    if args.alignments_csv:
        results = tables.read_results(args.alignments, ("labels", "categories", "scores", "source_tokens_used"))
        tables.write_csv(args.alignments_csv, tables.ALIGNMENTS, tables.alignment_rows(results))
    if args.alignment_scores_csv:
        results = tables.read_results(args.alignment_scores, ("labels", "metrics", "groups"))
        tables.write_csv(args.alignment_scores_csv, tables.ALIGNMENT_SCORES, tables.alignment_score_rows(results))
    if args.training_csv:
        stages = [
            (read_json(folder / "training.json")["labels"], tables.read_metrics(folder / "metrics.jsonl"))
            for folder in args.stages
        ]
        tables.write_csv(args.training_csv, *tables.training_rows(stages))


if __name__ == "__main__":
    cli.run(main, arguments())
