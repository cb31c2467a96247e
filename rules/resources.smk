# What jobs ask for: memory, time and threads, from the configuration (`resources`) or else estimated from the sizes of models,
# vocabularies and corpora (tokalign/estimates.py). Nothing of it makes a rule run again. Sizes are known when the files that state
# them are there; a plan that is made before then shows the values for unknown sizes, and Snakemake asks again when a job starts.

from tokalign.cluster.gpus import UNKNOWN_GPU
from tokalign.preflight import estimates
from tokalign.common.files import read_json


def own_resource(rule, key):
    """What the configuration states for a rule, or None."""
    return config["resources"].get(rule, {}).get(key)


def threads_of(rule, number):
    return own_resource(rule, "threads") or number


def memory_of(rule, otherwise, estimate=None):
    """Return a resource function: memory in MB, twice as much at each further attempt, as a job that ran out of it is tried again.

    ``estimate`` is a function of the wildcards that returns MB, or None where a size is not known; then ``otherwise`` is asked for.
    """

    def memory(wildcards, attempt):
        first = own_resource(rule, "mem_mb")
        if first is None:
            found = estimate(wildcards) if estimate else None
            first = otherwise if found is None else estimates.asked_memory_mb(found)
        return first * 2 ** (attempt - 1)

    return memory


def runtime_of(rule, otherwise, estimate=None):
    """Return a resource function: the time limit in minutes, longer by as much at each further attempt.

    ``estimate`` returns hours, or None where a size is not known; then ``otherwise`` is asked for.
    """

    def runtime(wildcards, attempt):
        return first_runtime(rule, otherwise, estimate, wildcards) * attempt

    return runtime


def first_runtime(rule, otherwise, estimate, wildcards):
    first = own_resource(rule, "runtime")
    if first is None:
        found = estimate(wildcards) if estimate else None
        first = otherwise if found is None else estimates.asked_minutes(found)
    return first


# ---- sizes ----


def stated(path):
    """The content of a JSON file that an earlier rule makes, or None before that."""
    return read_json(Path(path)) if Path(path).exists() else None


def model_size(model):
    info = stated(f"results/models/{model}/info.json")
    return None if info is None else estimates.ModelSize.of(info)


def vocabulary_size(tokenizer):
    """Ids of a tokenizer; of one to be trained the number that is asked for; None where neither is known."""
    info = stated(f"results/tokenizers/{tokenizer}/info.json")
    if info is not None:
        return info["size"]
    return config["tokenizers"][tokenizer]["source"].get("train", {}).get("vocabulary_size")


def adapted_size(model, tokenizer):
    """A model with another vocabulary; the rows of its own, where the other is not known."""
    size = model_size(model)
    return size and size.with_rows(vocabulary_size(tokenizer) or size.rows)


def checkpoint_size(checkpoint):
    names = checkpoint_names(checkpoint)
    return adapted_size(names["model"], names["tokenizer"])


def corpus_tokens(corpus):
    """Tokens of a corpus of which the configuration states the bytes, by a usual tokenizer; else None."""
    block = config["corpora"][corpus]
    sources = [source.get("max_bytes") for source in block["sources"].values()]
    size = block["byte_budget"] or (None if None in sources else sum(sources))
    return size and size // estimates.BYTES_PER_TOKEN


def file_size(path):
    return Path(path).stat().st_size if Path(path).exists() else None


def in_profile(rule, resource):
    """What the profile (or the command line) sets a resource of a rule to, as text, or None."""
    stated = workflow.resource_settings._parsed_overwrite_resources.get(rule, {})
    return str(stated[resource].raw) if resource in stated else None


def gpu_model(rule):
    """Model of the GPU that the profile names for a rule, or None: `gpu_model: h100`, or the middle of `gres: gpu:h100:1`."""
    parts = (in_profile(rule, "gres") or "").split(":")
    return in_profile(rule, "gpu_model") or (parts[1] if len(parts) == 3 else None)


# ---- vectors and alignments ----


def counting_estimate(wildcards):
    return estimates.counting_memory_mb(config["vectors"][wildcards.vectors]["count"]["memory_gb"])


def counting_time(wildcards):
    tokens = corpus_tokens(wildcards.corpus)
    return tokens and estimates.counting_hours(tokens, threads_of("count_cooccurrences", 16))


def cooccurrences_bytes(wildcards):
    return file_size(
        "results/vectors/{corpus}/{tokenizer}/{vectors}/cooccurrences.safetensors".format(
            **wildcards
        )
    )


def glove_estimate(wildcards):
    size, rows = cooccurrences_bytes(wildcards), vocabulary_size(wildcards.tokenizer)
    dimensions = config["vectors"][wildcards.vectors]["glove"]["dimensions"]
    return size and rows and estimates.glove_memory_mb(size, rows, dimensions)


def glove_time(wildcards):
    size = cooccurrences_bytes(wildcards)
    iterations = config["vectors"][wildcards.vectors]["glove"]["iterations"]
    return size and estimates.glove_hours(size, iterations, threads_of("train_glove_vectors", 16))


def compared(wildcards):
    """Tokens on both sides of an alignment, and the numbers that are compared for each; None where they are not known."""
    sizes = [
        vocabulary_size(wildcards.source_tokenizer),
        vocabulary_size(wildcards.target_tokenizer),
    ]
    if None in sizes:
        return None
    block = config["alignments"][wildcards.alignment]
    vectors = config["vectors"].get(block.get("vectors"), {})
    lengths = [vectors.get(method, {}).get("dimensions", 0) for method in ("glove", "fasttext")] + [
        own["pivots"]
        for own in block.values()
        if isinstance(own, dict) and isinstance(own.get("pivots"), int)
    ]
    return *sizes, max([300, *lengths])


def alignment_estimate(wildcards):
    found = compared(wildcards)
    return found and estimates.alignment_memory_mb(*found)


def alignment_time(wildcards):
    found = compared(wildcards)
    return found and estimates.alignment_hours(*found, threads_of("align_vocabularies", 8))


# ---- models ----


def fit_estimate(wildcards):
    size, rows = model_size(wildcards.model), vocabulary_size(wildcards.tokenizer)
    return size and rows and estimates.fit_memory_mb(size, rows)


def initialization_estimate(wildcards):
    size, rows = model_size(wildcards.model), vocabulary_size(wildcards.tokenizer)
    return size and rows and estimates.initialization_memory_mb(size, rows)


def initialization_time(wildcards):
    size, rows = model_size(wildcards.model), vocabulary_size(wildcards.tokenizer)
    return size and rows and estimates.initialization_hours(size, rows)


def scoring_estimate(wildcards):
    size = checkpoint_size(wildcards.checkpoint)
    return size and estimates.evaluation_memory_mb(size)


def scoring_time(wildcards):
    """Half of the groups that a sample may have are assumed to be full, but at least one."""
    size, block = checkpoint_size(wildcards.checkpoint), config["evaluations"][wildcards.evaluation]
    sources = config["corpora"][block["corpus"]]["sources"].values()
    groups = len({(source["language"], source["domain"]) for source in sources})
    tokens = groups * block["sample"]["bytes_per_group"] // estimates.BYTES_PER_TOKEN
    perplexity = block["perplexity"]
    gpu = (gpu_model("evaluate_perplexity") or UNKNOWN_GPU) if block["gpus"] else None
    return size and estimates.evaluation_hours(
        size,
        tokens,
        perplexity["window"] / perplexity["stride"],
        gpu,
        threads_of("evaluate_perplexity", 8),
    )


def choices_time(wildcards):
    """The questions are read with each of their choices."""
    size, block = checkpoint_size(wildcards.checkpoint), config["evaluations"][wildcards.evaluation]
    made = [
        stated(f"results/testsets/{name}/manifest.json") for name in block["choices"]["testsets"]
    ]
    if size is None or None in made:
        return None
    tokens = sum(testset["bytes"] for testset in made) // estimates.BYTES_PER_TOKEN
    gpu = (gpu_model("answer_choices") or UNKNOWN_GPU) if block["gpus"] else None
    return estimates.evaluation_hours(size, tokens, 1, gpu, threads_of("answer_choices", 8))


# ---- training ----

LONGEST_TRAINING_JOB = 1440
"""Minutes; a longer training goes on in the next job. The profile or the configuration may state another limit."""


def train_stage_cost(wildcards):
    """The model as it is trained, and what the stage makes of it; None before the size of the model is known."""
    size = adapted_size(wildcards.model, wildcards.tokenizer)
    block = config["recipes"][wildcards.recipe]["block"]
    return size and (size, estimates.Stage.of(stage_block(wildcards), block))


def train_stage_estimate(wildcards):
    cost = train_stage_cost(wildcards)
    return cost and estimates.training_memory_mb(*cost)


def train_stage_threads(wildcards):
    return own_resource("train_stage", "threads") or stage_threads(wildcards)


def train_stage_time(wildcards):
    cost = train_stage_cost(wildcards)
    return cost and estimates.training_hours(
        *cost, gpu_model("train_stage"), train_stage_threads(wildcards)
    )


train_stage_memory = memory_of("train_stage", 64000, train_stage_estimate)


def train_stage_runtime(wildcards):
    """Minutes; the same at each attempt, as the next one continues and does not start again."""
    minutes = first_runtime("train_stage", LONGEST_TRAINING_JOB, train_stage_time, wildcards)
    return own_resource("train_stage", "runtime") or min(minutes, LONGEST_TRAINING_JOB)


def threads_of_process(wildcards):
    """Of one of the processes that train on a node."""
    return max(1, train_stage_threads(wildcards) // stage_processes(wildcards))
