"""Check before the first job whether a run can succeed, and print the plan.

--settings is a JSON object from the rule: what will be fetched, written and trained, and the profile's site.
Nothing is fetched or written. The exit status is 1 if a check fails.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tokalign.common import cli
from tokalign.preflight.settings import PreflightSettings

log = logging.getLogger(__name__)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, PreflightSettings)
    parser.add_argument("--offline", action="store_true", help="do not use the network; checks that need it are skipped")
    return parser


def main(args: argparse.Namespace) -> None:
    """Check and print.

    Raises:
        InputError: the run cannot be planned.
    """
    from tokalign.preflight import checks, tables

    settings = args.settings.plain()
    site = settings["site"]
    log.info("planning the run")
    plan = checks.dry_run(settings["dry_run"], Path(settings["start"]))
    models, vocabularies, notes = {}, {}, {}
    for name, block in settings["models"].items():
        models[name], note = checks.model_size(block["source"], Path(block["info"]), offline=args.offline)
        notes |= {f"model {name}": note} if note else {}
    for name, block in settings["tokenizers"].items():
        vocabularies[name] = checks.vocabulary_size(block, offline=args.offline)
        if vocabularies[name] is None:
            notes[f"tokenizer {name}"] = "its size is not known before it is fetched; that of the model's own is taken"
    sizes = checks.Sizes(models, vocabularies)
    trainings = checks.trainings(settings["trainings"], sizes)
    training_mb = checks.training_memory_mb(trainings, site["training_mb"])
    results = [
        checks.Check("configuration", "valid", "keys, names and local files", True),
        *checks.check_profile(site),
        *checks.check_sources(settings["sources"], offline=args.offline),
        *checks.check_disk(settings["files"], sizes, "; also check your quota" if site["slurm"] else ""),
        *checks.check_gpu_memory(trainings, site["gpu"]),
        *checks.check_slurm(plan.submitted(site["local"]), training_mb, site),
    ]
    print(f"\n{tables.checks_table(results)}")
    print(f"\n{tables.trainings_table(trainings, site['gpu'], notes)}")
    print(f"\n{tables.jobs_table(plan, site['local'], slurm=site['slurm'])}", flush=True)
    failed = sum(check.ok is False for check in results)
    if failed:
        sys.exit(f"\npreflight: {failed} of {len(results)} checks fail")
    print("\npreflight: no check fails")


if __name__ == "__main__":
    cli.run(main, arguments())
