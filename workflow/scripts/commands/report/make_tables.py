"""Make the tables of all results, each as CSV, Markdown, LaTeX and a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--results", type=cli.settings, required=True,
        help='JSON, "-" for standard input: a list of files for each of perplexity, tokenizers, alignments, alignment_scores, '
        "stages (folders of checkpoints) and comparisons; those that are left out are empty",
    )  # fmt: skip
    parser.add_argument(
        "--benchmarks", type=Path, required=True, help="folder of the files with the time of each job (logs/benchmarks)"
    )
    parser.add_argument("--captions", type=Path, required=True, help="folder with the caption of each table")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write into")
    return parser


def main(args: argparse.Namespace) -> None:
    """Read results, write tables."""
    from tokalign.common.files import read_json
    from tokalign.report.tables import comparison, results
    from tokalign.report.tables.durations import duration_rows
    from tokalign.report.tables.files import caption, write_table

    read = {
        kind: results.read_results(args.results.get(kind, []), keys)
        for kind, keys in {
            "perplexity": ("labels", "metrics"),
            "tokenizers": ("labels", "metrics", "more"),
            "alignments": ("labels", "categories", "scores", "source_tokens_used"),
            "alignment_scores": ("labels", "metrics", "groups"),
            "comparisons": ("evaluation", "rows", "seeds", "criteria", "runs"),
        }.items()
    }
    perplexity, comparisons = results.perplexity_rows(read["perplexity"]), read["comparisons"]
    stages = [
        (read_json(Path(folder, "training.json"))["labels"], results.read_metrics(Path(folder, "metrics.jsonl")))
        for folder in args.results.get("stages", [])
    ]
    made = {
        "perplexity": (results.PERPLEXITY, perplexity),
        "bits_per_byte": results.stage_rows(perplexity),
        "tokenizers": (results.TOKENIZERS, results.tokenizer_rows(read["tokenizers"])),
        "alignments": (results.ALIGNMENTS, results.alignment_rows(read["alignments"])),
        "alignment_scores": (results.ALIGNMENT_SCORES, results.alignment_score_rows(read["alignment_scores"])),
        "training": results.training_rows(stages),
        "comparison": comparison.comparison_rows(comparisons),
        "results": comparison.side_by_side(comparisons),
        "criteria": comparison.criteria_rows(comparisons),
        "seeds": comparison.seed_rows(comparisons),
        "runs": comparison.run_rows(comparisons),
        "durations": duration_rows(args.benchmarks),
    }
    for name, (columns, rows) in made.items():
        write_table(args.folder, name, caption(args.captions, name), columns, rows)


if __name__ == "__main__":
    cli.run(main, arguments())
