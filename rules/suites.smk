# What the rules of the evaluation suites look up: which models are measured on what, with which settings.

CHECKPOINT = f"models/{NAME}/hf|initialized/.+|adapted/.+"


MODEL_SUITES = ("perplexity", "tasks", "choices", "translation", "generation", "efficiency")
"""Suites of an evaluation that measure models; each result lies under its name and the path of its model."""


def suite_block(evaluation, suite):
    """The settings of a suite, or None where the evaluation has it not."""
    return config["evaluations"][evaluation].get(suite)


def suite_settings(suite):
    """Return a param function: the settings of a suite, without the choice of models, with the model's trust in its own code."""

    def look_up(wildcards):
        block = suite_block(wildcards.evaluation, suite)
        model = checkpoint_names(wildcards.checkpoint)["model"]
        own = {
            key: value
            for key, value in block.items()
            if key not in ("checkpoints", "reference_tokenizer")
        }
        return canonical({**own, "trust_remote_code": config["models"][model]["trust_remote_code"]})

    return look_up


def checkpoints_of(run, chosen):
    """Paths, seen from results/, of those models of a run that a suite measures."""
    trained = [adapted_path(run, stage) for stage in stages(run.recipe)]
    own = {
        "source": [f"results/models/{run.model}/hf"],
        "baselines": [initialized_path(run, alignment) for alignment in run.baselines],
        "initialized": [initialized_path(run, run.alignment)],
        "stages": trained[:-1],
        "adapted": trained[-1:],
    }
    return [
        path.removeprefix("results/")
        for kind, paths in own.items()
        if kind in chosen
        for path in paths
    ]


def suite_results(suite, evaluation=None):
    """Result files of a suite for all experiments, or those of one evaluation."""
    return unique(
        f"results/evaluations/{run.evaluation}/{suite}/{checkpoint}.json"
        for run in RUNS
        if evaluation in (None, run.evaluation) and suite_block(run.evaluation, suite) is not None
        for checkpoint in checkpoints_of(run, suite_block(run.evaluation, suite)["checkpoints"])
    )


def testset_file(name):
    return f"results/testsets/{name}/items.parquet"


def reference_tokenizer(wildcards):
    """The tokenizer whose tokens the normalized perplexity counts."""
    chosen = suite_block(wildcards.evaluation, "perplexity")["reference_tokenizer"]
    own = source_tokenizer(checkpoint_names(wildcards.checkpoint)["model"])
    return f"results/tokenizers/{chosen or own}/hf"


def tokenizer_testset(wildcards):
    """The parallel test set that tokenizers are compared on, if there is one."""
    name = suite_block(wildcards.evaluation, "tokenizers")["testset"]
    return [testset_file(name)] if name else []


def tokenizer_settings_of(wildcards):
    block = suite_block(wildcards.evaluation, "tokenizers")
    keys = ("renyi_alpha", "parity_language") if block["testset"] else ("renyi_alpha",)
    return canonical({key: block[key] for key in keys})


def choices_testsets(wildcards):
    return [testset_file(name) for name in suite_block(wildcards.evaluation, "choices")["testsets"]]


def translation_testsets(wildcards):
    directions = suite_block(wildcards.evaluation, "translation")["directions"]
    return unique(testset_file(direction["testset"]) for direction in directions)


def generation_prompts(wildcards):
    name = suite_block(wildcards.evaluation, "generation")["testset"]
    held_out = f"results/evaluations/{wildcards.evaluation}/documents.parquet"
    return testset_file(name) if name else held_out


# ---- test sets ----


def testset_files(wildcards):
    """Local files of a test set with records."""
    patterns = config["testsets"][wildcards.testset].get("files", [])
    return [ancient(path) for path in local_files(patterns, f"testsets.{wildcards.testset}.files")]


def testset_texts(wildcards):
    """Line-aligned text of a parallel test set: a file for each language, in the order of the languages."""
    texts = config["testsets"][wildcards.testset].get("text_files", {})
    return [ancient(path) for _, path in sorted(texts.items())]


def testset_languages(wildcards):
    """The option that names text files with their languages. It is no function of the inputs, whose params never make a rule run again."""
    texts = config["testsets"][wildcards.testset].get("text_files", {})
    named = [shlex.quote(f"{language}={path}") for language, path in sorted(texts.items())]
    return " ".join(["--text-files", *named]) if texts else ""


def testset_content(wildcards):
    return DIGESTS.digest([*testset_files(wildcards), *testset_texts(wildcards)])


def testset_fetched(wildcards):
    name = wildcards.testset
    return [f"results/fetched/testsets/{name}"] if "hub" in config["testsets"][name] else []


def testset_source(wildcards):
    """What the fetch rule reads."""
    block = config["testsets"][wildcards.testset]
    return canonical({key: block[key] for key in ("hub", "revision", "subset", "split", "limit")})


def testset_settings(wildcards):
    block = config["testsets"][wildcards.testset]
    return canonical(
        {
            key: value
            for key, value in block.items()
            if key not in ("files", "text_files", "hub", "revision", "subset", "split")
        }
    )


# ---- tasks of lm-evaluation-harness ----


def own_tasks(evaluation):
    """Names of the tasks that the user's own folder defines."""
    folder = suite_block(evaluation, "tasks")["include"]
    files = sorted(Path(folder).rglob("*.yaml")) if folder else []
    return {name for file in files for name in task_names(file)}


def names_fetched(evaluation):
    """Names of tasks that come with the harness; the data of own tasks are local files."""
    return sorted(set(suite_block(evaluation, "tasks")["names"]) - own_tasks(evaluation))


def fetched_names(wildcards):
    return canonical({"names": names_fetched(wildcards.evaluation)})


def tasks_fetched(evaluation):
    return [f"results/fetched/tasks/{evaluation}"] if names_fetched(evaluation) else []


def tasks_data(wildcards):
    return tasks_fetched(wildcards.evaluation)


def tasks_content(wildcards):
    """Digest of the user's own tasks and their data: their content counts, not their time."""
    folder = suite_block(wildcards.evaluation, "tasks")["include"]
    if not folder:
        return ""
    own = {path for path in Path(folder).rglob("*") if path.is_file()}
    data = {file for path in Path(folder).rglob("*.yaml") for file in task_data_files(path)}
    return DIGESTS.digest(sorted(own | data))


def tasks_settings(wildcards):
    block = suite_block(wildcards.evaluation, "tasks")
    return canonical({key: block[key] for key in ("names", "include", "shots")})


# ---- comparison ----


def comparison_entries(evaluation):
    """The results of an evaluation, each with its role and the result of the source model that it is compared with."""
    entries = {}
    folder = f"results/evaluations/{evaluation}"

    def add(path, role, baseline):
        """A new tokenizer is compared with those of all models that get it; what is compared need not stand alone, too."""
        entries.setdefault((path, baseline), {"path": path, "role": role, "baseline": baseline})

    for run in (run for run in RUNS if run.evaluation == evaluation):
        for suite in MODEL_SUITES:
            block = suite_block(evaluation, suite)
            if block is None:
                continue
            chosen = block["checkpoints"]
            source = f"{folder}/{suite}/models/{run.model}/hf.json" if "source" in chosen else None
            for kind, role in CHECKPOINT_ROLES.items():
                for checkpoint in checkpoints_of(run, [kind] if kind in chosen else []):
                    path = f"{folder}/{suite}/{checkpoint}.json"
                    add(path, role, None if role == "source" else source)
        own = f"{folder}/tokenizers/{source_tokenizer(run.model)}.json"
        add(own, "tokenizer", None)
        add(f"{folder}/tokenizers/{run.tokenizer}.json", "tokenizer", own)
    compared = {path for path, baseline in entries if baseline}
    return [
        entry for (path, baseline), entry in entries.items() if baseline or path not in compared
    ]


CHECKPOINT_ROLES = {
    "source": "source",
    "initialized": "initialized",
    "baselines": "baseline",
    "stages": "stage",
    "adapted": "adapted",
}


def compared_results(wildcards):
    return unique(entry["path"] for entry in comparison_entries(wildcards.evaluation))


def compared_items(wildcards):
    return [str(Path(path).with_suffix(".parquet")) for path in compared_results(wildcards)]


def comparison_plan(wildcards):
    return canonical({"entries": comparison_entries(wildcards.evaluation)})


def comparison_settings(wildcards):
    return canonical(suite_block(wildcards.evaluation, "comparison"))


def comparison_references(wildcards):
    block = suite_block(wildcards.evaluation, "comparison")
    place = f"evaluations.{wildcards.evaluation}.comparison.references"
    return [ancient(path) for path in local_files(block["references"], place)]


def comparison_content(wildcards):
    """Digest of published numbers and of merged results: their content counts, not their time."""
    block = suite_block(wildcards.evaluation, "comparison")
    merged = [
        path for folder in block["merge"] for path in Path(folder).rglob("*") if path.is_file()
    ]
    return DIGESTS.digest([*comparison_references(wildcards), *merged])


def comparisons(wildcards):
    return unique(f"results/evaluations/{run.evaluation}/comparison.json" for run in RUNS)
