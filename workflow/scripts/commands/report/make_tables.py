"""Make the tables of all results, each as CSV, Markdown, LaTeX and a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli


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
    from tokalign.common.files import read_json
    from tokalign.report.tables import comparison, results
    from tokalign.report.tables.files import caption, write_table

    perplexity = results.perplexity_rows(results.read_results(args.perplexity, ("labels", "metrics")))
    tokenizers = results.read_results(args.tokenizers, ("labels", "metrics", "more"))
    alignments = results.read_results(args.alignments, ("labels", "categories", "scores", "source_tokens_used"))
    scores = results.read_results(args.alignment_scores, ("labels", "metrics", "groups"))
    stages = [
        (read_json(folder / "training.json")["labels"], results.read_metrics(folder / "metrics.jsonl")) for folder in args.stages
    ]
    comparisons = results.read_results(args.comparisons, ("evaluation", "rows", "seeds", "criteria", "runs"))
    made = {
        "perplexity": (results.PERPLEXITY, perplexity),
        "bits_per_byte": results.stage_rows(perplexity),
        "tokenizers": (results.TOKENIZERS, results.tokenizer_rows(tokenizers)),
        "alignments": (results.ALIGNMENTS, results.alignment_rows(alignments)),
        "alignment_scores": (results.ALIGNMENT_SCORES, results.alignment_score_rows(scores)),
        "training": results.training_rows(stages),
        "comparison": comparison.comparison_rows(comparisons),
        "results": comparison.side_by_side(comparisons),
        "criteria": comparison.criteria_rows(comparisons),
        "seeds": comparison.seed_rows(comparisons),
        "runs": comparison.run_rows(comparisons),
    }
    for name, (columns, rows) in made.items():
        write_table(args.folder, name, caption(args.captions, name), columns, rows)


if __name__ == "__main__":
    cli.run(main, arguments())
