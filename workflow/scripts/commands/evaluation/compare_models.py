"""Compare all results of an evaluation with those of the source model: differences, intervals, tests, seeds, criteria."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokalign.common import cli


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--evaluation", required=True, help="its name")
    parser.add_argument(
        "--plan",
        type=cli.settings,
        required=True,
        help='JSON, "-" for standard input: {"entries": [{"path": RESULT, "role": ROLE, "baseline": RESULT or null}, ...]}',
    )
    parser.add_argument(
        "--settings",
        type=cli.settings,
        required=True,
        help="JSON: resamples, seed, significance, criteria, references, merge",
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    return parser


def main(args: argparse.Namespace) -> None:
    """Compare and write."""
    from tokalign.common.files import write_json
    from tokalign.evaluation import comparison
    from tokalign.evaluation.composite import composite_rows

    entries = [comparison.Entry(**entry) for entry in args.plan["entries"]]
    for folder in args.settings["merge"]:
        entries += comparison.merged_entries(folder, entries)
    rows = comparison.compare(entries, args.evaluation, args.settings)
    rows += composite_rows(rows, entries)
    criteria = comparison.judge(rows, args.settings["criteria"])
    for file in args.settings["references"]:
        rows += comparison.published_rows(file, args.evaluation)
    write_json(
        args.output,
        {
            "evaluation": args.evaluation,
            "settings": args.settings,
            "rows": rows,
            "seeds": comparison.over_seeds(rows),
            "criteria": criteria,
            "runs": comparison.runs(entries),
        },
    )


if __name__ == "__main__":
    cli.run(main, arguments())
