"""Make the tables of all results, each as CSV, Markdown, LaTeX and a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    for option, what in (
        ("--perplexity", "results of evaluate_perplexity.py"),
        ("--tokenizers", "results of evaluate_tokenizer.py"),
        ("--alignments", "report.json files of alignments"),
        ("--alignment-scores", "results of evaluate_alignment.py"),
        ("--stages", "folders of finished training stages (metrics.jsonl and training.json)"),
        ("--comparisons", "results of compare_models.py"),
    ):
        parser.add_argument(option, type=Path, nargs="*", default=[], metavar="FILE", help=what)
    parser.add_argument("--captions", type=Path, required=True, help="folder of what the report says of each table")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write into")
    return parser


def main(args: argparse.Namespace) -> None:
    """Read results, write tables."""
    from tokalign import comparison_tables, tables
    from tokalign.files import read_json
    from tokalign.table_files import caption, write_table

    perplexity = tables.perplexity_rows(tables.read_results(args.perplexity, ("labels", "metrics")))
    tokenizers = tables.read_results(args.tokenizers, ("labels", "metrics", "more"))
    alignments = tables.read_results(args.alignments, ("labels", "categories", "scores", "source_tokens_used"))
    scores = tables.read_results(args.alignment_scores, ("labels", "metrics", "groups"))
    stages = [
        (read_json(folder / "training.json")["labels"], tables.read_metrics(folder / "metrics.jsonl")) for folder in args.stages
    ]
    comparisons = tables.read_results(args.comparisons, ("evaluation", "rows", "seeds", "criteria", "runs"))
    made = {
        "perplexity": (tables.PERPLEXITY, perplexity),
        "bits_per_byte": tables.stage_rows(perplexity),
        "tokenizers": (tables.TOKENIZERS, tables.tokenizer_rows(tokenizers)),
        "alignments": (tables.ALIGNMENTS, tables.alignment_rows(alignments)),
        "alignment_scores": (tables.ALIGNMENT_SCORES, tables.alignment_score_rows(scores)),
        "training": tables.training_rows(stages),
        "comparison": comparison_tables.comparison_rows(comparisons),
        "results": comparison_tables.side_by_side(comparisons),
        "criteria": comparison_tables.criteria_rows(comparisons),
        "seeds": comparison_tables.seed_rows(comparisons),
        "runs": comparison_tables.run_rows(comparisons),
    }
    for name, (columns, rows) in made.items():
        write_table(args.folder, name, caption(args.captions, name), columns, rows)


if __name__ == "__main__":
    cli.run(main, arguments())
