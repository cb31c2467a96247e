"""Settings of the preflight from study and profile: what will be fetched, written and trained, and where."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from tokalign.config.experiments import canonical
from tokalign.preflight import estimates

from plan import paths
from plan.evaluations import Evaluations
from plan.resources import Jobs, Profile
from plan.study import Study, unique

COMPRESSED = 0.5
"""Bytes in Parquet files per byte of text."""
ALL_THREADS = 100_000
"""Cores of a dry run, so that no rule is planned with fewer threads than it requests."""


QUIET = ("all", "host", "progress", "reason", "rules")
"""What may follow --quiet; the dry run has its own."""


def dry_run_command(typed: list[str], own: str) -> list[str]:
    """Return the typed command as a dry run without the rule preflight.

    Args:
        typed: words after ``snakemake``.
        own: name of the rule preflight.
    """
    words, quiet = [], False
    for word in typed:
        if word in ("--quiet", "-q"):
            quiet = True
        elif not (quiet and word in QUIET):
            quiet = False
            words += [word] if word != own and not re.match("--quiet=|-q", word) else []
    return [sys.executable, "-m", "snakemake", "--quiet", "host", "--dry-run", "--cores", str(ALL_THREADS), *words]


def network_sources(study: Study, evaluations: Evaluations) -> list[dict[str, str]]:
    """Return path, kind, name and revision of each download.

    Only the harness knows which data sets tasks need; resolve_tasks checks their names.
    """
    sources = []

    def add(path: str, kind: str, block: dict[str, Any]) -> None:
        sources.append({"path": path, "kind": kind, "name": block["hub"], "revision": block["revision"]})

    for path in unique([*study.fetched_files(), *evaluations.fetched_files()]):
        if paths.FETCHED_WHEEL.matches(path):
            sources.append({"path": path, "kind": "wheel", "name": paths.FETCHED_WHEEL.names(path)["wheel"]})
        elif paths.FETCHED_TESTSET.matches(path):
            add(path, "dataset", study.config["testsets"][paths.FETCHED_TESTSET.names(path)["testset"]])
        elif paths.FETCHED_DATASET.matches(path):
            names = paths.FETCHED_DATASET.names(path)
            add(path, "dataset", study.config["corpora"][names["corpus"]]["sources"][names["source"]])
        elif paths.FETCHED_HUB.matches(path):
            names = paths.FETCHED_HUB.names(path)
            own = names["kind"] != "embedder"
            add(
                path,
                "model",
                study.config[f"{names['kind']}s"][names["name"]]["source"] if own else study.embedder(names["name"]),
            )
    return sources


def planned_files(study: Study, jobs: Jobs) -> list[dict[str, Any]]:
    """Return the larger outputs of the experiments with what determines their size; see ``preflight/checks.py``."""
    files: dict[str, dict[str, Any]] = {}

    def add(path: str | Path, **size: Any) -> None:
        files.setdefault(str(path), {"path": str(path), **size})

    for corpus in study.corpora():
        for name, path in study.fetched_datasets(corpus).items():
            limit = study.config["corpora"][corpus]["sources"][name]["max_bytes"]
            add(path, bytes=round((limit or 0) * COMPRESSED))
        text = (jobs.corpus_tokens(corpus) or 0) * estimates.BYTES_PER_TOKEN * COMPRESSED
        add(Path(paths.CORPUS_TEXT.of(corpus=corpus)).parent, bytes=round(text))
    for run in study.runs:
        for path in study.fetched("model", run.model):
            add(path, model=run.model, tokenizer=None)
        tokens = (jobs.corpus_tokens(run.corpus) or 0) * estimates.TOKEN_BYTES
        recipe = study.recipe(run.recipe)
        names = {**vars(run), "block": recipe["block"], "shard": "", "vectors": ""}
        for tokenizer in (study.own_tokenizer(run.model), run.tokenizer):
            add(Path(paths.TOKENS.of(names, tokenizer=tokenizer)).parent, bytes=tokens)
            add(Path(paths.VECTORS.of(names, tokenizer=tokenizer)).parent, bytes=tokens)
        add(Path(paths.BLOCKS.of(names)).parent, bytes=tokens)
        for stage in recipe["stages"]:
            if stage["mixture"]:
                mixed = {**names, "corpus": stage["mixture"]["corpus"]}
                tokens = (jobs.corpus_tokens(mixed["corpus"]) or 0) * estimates.TOKEN_BYTES
                add(Path(paths.TOKENS.of(mixed)).parent, bytes=tokens)
                add(Path(paths.BLOCKS.of(mixed)).parent, bytes=tokens)
        for alignment in study.alignments_of(run):
            add(study.initialized(run, alignment), model=run.model, tokenizer=run.tokenizer)
        for stage in recipe["stages"]:
            path = study.adapted(run, stage["name"])
            add(path, model=run.model, tokenizer=run.tokenizer)
            if not Path(path).exists():
                state = paths.STATE.of(vars(run), stage=stage["name"])
                add(f"{state}/states", model=run.model, tokenizer=run.tokenizer, stage=stage, block=recipe["block"])
    return list(files.values())


def planned_trainings(study: Study) -> list[dict[str, Any]]:
    """Return all stages of all runs: path, names, block of the stage, tokens per sequence."""
    names = ("experiment", "model", "tokenizer", "recipe")
    return [
        {
            "path": study.adapted(run, stage["name"]),
            "labels": {name: getattr(run, name) for name in names} | {"seed": str(run.seed), "stage": stage["name"]},
            "stage": stage,
            "block": study.recipe(run.recipe)["block"],
        }
        for run in study.runs
        for stage in study.recipe(run.recipe)["stages"]
    ]


def partitions(file: str | Path | None) -> dict[str, int]:
    """Return the partitions in a profile's file and the most GPUs per job there."""
    if not file:
        return {}
    listed = yaml.safe_load(Path(file).read_text(encoding="utf-8"))["partitions"]
    return {name: (limits or {}).get("max_gpu", 0) for name, limits in listed.items()}


def site(workflow: Any, profile: Profile) -> dict[str, Any]:
    """Return the profile's description of where the jobs run.

    Args:
        workflow: Snakemake's workflow.
        profile: values set by the profile.
    """
    memory = profile.resource("train_stage", "mem_mb")
    return {
        "slurm": hasattr(workflow.executor_settings, "partition_config"),
        "partitions": partitions(getattr(workflow.executor_settings, "partition_config", None)),
        "account": profile.default("slurm_account"),
        "gpu": profile.gpu_model("train_stage"),
        "training_mb": int(memory) if memory and memory.isdigit() else None,
        "local": [rule.name for rule in workflow.rules if workflow.is_local(rule)],
        "unknown_rules": sorted({*profile.of_rules, *profile.threads} - {rule.name for rule in workflow.rules}),
        "rules": sorted(rule.name for rule in workflow.rules),
    }


def settings(workflow: Any, study: Study, evaluations: Evaluations, jobs: Jobs, name_of: Callable[[str], str]) -> str:
    """Return all settings of preflight as JSON; they grow with the study.

    Args:
        workflow: Snakemake's workflow.
        study: the experiments.
        evaluations: evaluations of the study.
        jobs: estimates for the jobs.
        name_of: returns a rule's name in the running workflow.
    """
    return canonical(
        {
            "dry_run": dry_run_command(sys.argv[1:], name_of("preflight")),
            "start": workflow.workdir_init,
            "sources": network_sources(study, evaluations),
            "models": {
                model: {"source": study.config["models"][model]["source"], "info": paths.MODEL_INFO.of(model=model)}
                for model in unique(run.model for run in study.runs)
            },
            "tokenizers": {
                tokenizer: {"source": study.tokenizer_source(tokenizer), "rows": jobs.vocabulary_size(tokenizer)}
                for tokenizer in unique(run.tokenizer for run in study.runs)
            },
            "files": planned_files(study, jobs),
            "trainings": planned_trainings(study),
            "site": site(workflow, jobs.profile),
        }
    )
