"""Compare all results of an evaluation with those of the source model: differences, intervals, tests, seeds, criteria."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli
from tokalign.config.evaluations import ComparisonPlan, ComparisonSettings


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--evaluation", required=True, help="name of the evaluation")
    cli.add_settings(parser, ComparisonPlan, "--plan")
    cli.add_settings(parser, ComparisonSettings)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Compare and write."""
    from tokalign.common.files import write_json
    from tokalign.evaluation import comparison
    from tokalign.evaluation.composite import composite_rows

    settings = args.settings.plain()
    entries = [comparison.Entry(**entry.plain()) for entry in args.plan.entries]
    for folder in settings["merge"]:
        entries += comparison.merged_entries(folder, entries)
    rows = comparison.compare(entries, args.evaluation, settings)
    rows += composite_rows(rows, entries)
    criteria = comparison.judge(rows, settings["criteria"])
    for file in settings["references"]:
        rows += comparison.published_rows(file, args.evaluation)
    write_json(
        args.output,
        {
            "evaluation": args.evaluation,
            "settings": settings,
            "rows": rows,
            "seeds": comparison.over_seeds(rows),
            "criteria": criteria,
            "runs": comparison.runs(entries),
        },
    )


if __name__ == "__main__":
    cli.run(main, arguments())
