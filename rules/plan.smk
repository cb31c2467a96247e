# What preflight is told of the experiments and of the profile: what will be fetched, written and trained, and where.


def option_value(resources, name):
    """A resource that a profile sets for all rules, or None."""
    if resources is None or name not in resources:
        return None
    return str(resources[name].raw).strip("'\"")


def partitions():
    """Partitions in the profile's file and how many GPUs a job may have there, or none."""
    path = getattr(workflow.executor_settings, "partition_config", None)
    if not path:
        return {}
    import yaml

    listed = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["partitions"]
    return {name: (limits or {}).get("max_gpu", 0) for name, limits in listed.items()}


def dry_run_command():
    """The command that was typed, as a dry run of everything else; with cores for the threads that rules ask for."""
    typed = [word for word in sys.argv[1:] if word not in ("preflight", "--quiet", "-q")]
    options = ["--quiet", "host", "--dry-run", "--cores", "100000"]
    return [sys.executable, "-m", "snakemake", *options, *typed]


def network_sources():
    """What the fetch rules bring for the experiments."""
    sources = []
    for path in fetched_files():
        kind, *names = Path(path).parts[2:]
        if kind == "wheels":
            sources.append({"path": path, "kind": "wheel", "name": names[0]})
        elif kind == "tasks":
            continue  # which data sets these need is known to the harness alone; resolve_tasks checks their names
        elif kind in ("datasets", "testsets"):
            block = (
                config["testsets"][names[0]]
                if kind == "testsets"
                else config["corpora"][names[0]]["sources"][names[1]]
            )
            sources.append(
                {
                    "path": path,
                    "kind": "dataset",
                    "name": block["hub"],
                    "revision": block["revision"],
                }
            )
        else:
            section, name = names
            block = (
                embedder_source(name)
                if section == "embedder"
                else config[f"{section}s"][name]["source"]
            )
            sources.append(
                {
                    "path": path,
                    "kind": "model",
                    "name": block["hub"],
                    "revision": block["revision"],
                }
            )
    return sources


COMPRESSED = 0.5
"""Bytes of text in Parquet files for a byte of text."""


def planned_files():
    """What the experiments will write and how large it gets, the larger things only; see tokalign/preflight.py."""
    files = {}

    def add(path, **size):
        files.setdefault(path, {"path": path, **size})

    for run in RUNS:
        own = source_tokenizer(run.model)
        for path in fetched_source("models", run.model):
            add(path, model=run.model, tokenizer=None)
        for corpus in unique([run.corpus, config["evaluations"][run.evaluation]["corpus"]]):
            for name, path in fetched_datasets(corpus).items():
                limit = config["corpora"][corpus]["sources"][name]["max_bytes"]
                add(path, bytes=round((limit or 0) * COMPRESSED))
            tokens = corpus_tokens(corpus) or 0
            text = round(tokens * estimates.BYTES_PER_TOKEN * COMPRESSED)
            add(f"results/corpora/{corpus}", bytes=text)
        tokens = (corpus_tokens(run.corpus) or 0) * estimates.TOKEN_BYTES
        for tokenizer in (own, run.tokenizer):
            add(f"results/tokens/{run.corpus}/{tokenizer}", bytes=tokens)
            add(f"results/vectors/{run.corpus}/{tokenizer}", bytes=tokens)
        block = config["recipes"][run.recipe]["block"]
        add(f"results/packed/{run.corpus}/{run.tokenizer}/{block}", bytes=tokens)
        for alignment in (*run.baselines, run.alignment):
            add(initialized_path(run, alignment), model=run.model, tokenizer=run.tokenizer)
        for stage in config["recipes"][run.recipe]["stages"]:
            path = adapted_path(run, stage["name"])
            add(path, model=run.model, tokenizer=run.tokenizer)
            if not Path(path).exists():
                add(
                    os.path.join(path.replace("results", "work", 1), "states"),
                    model=run.model,
                    tokenizer=run.tokenizer,
                    stage=stage,
                    block=block,
                )
    return list(files.values())


def planned_trainings():
    names = ("experiment", "model", "tokenizer", "recipe")
    return [
        {
            "path": adapted_path(run, stage["name"]),
            "labels": {name: getattr(run, name) for name in names}
            | {"seed": str(run.seed), "stage": stage["name"]},
            "stage": stage,
            "block": config["recipes"][run.recipe]["block"],
        }
        for run in RUNS
        for stage in config["recipes"][run.recipe]["stages"]
    ]


def preflight_settings(wildcards):
    defaults = workflow.resource_settings.default_resources
    return canonical(
        {
            "dry_run": dry_run_command(),
            "start": workflow.workdir_init,
            "sources": network_sources(),
            "models": {
                model: {
                    "source": config["models"][model]["source"],
                    "info": f"results/models/{model}/info.json",
                }
                for model in unique(run.model for run in RUNS)
            },
            "tokenizers": {
                tokenizer: {
                    "source": config["tokenizers"][tokenizer]["source"],
                    "rows": vocabulary_size(tokenizer),
                }
                for tokenizer in unique(run.tokenizer for run in RUNS)
            },
            "files": planned_files(),
            "trainings": planned_trainings(),
            "site": {
                "slurm": hasattr(workflow.executor_settings, "partition_config"),
                "partitions": partitions(),
                "account": option_value(defaults, "slurm_account"),
                "gpu": gpu_model("train_stage"),
                "training_mb": own_resource("train_stage", "mem_mb"),
                "local": [rule.name for rule in workflow.rules if workflow.is_local(rule)],
            },
        }
    )
