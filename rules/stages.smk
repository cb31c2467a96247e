# Inputs, settings and resources of the training: the stage of the recipe that its wildcards name, what came before it, where it runs.

ADAPTED = "{model}--{tokenizer}/{corpus}/{alignment}/{recipe}/s{seed}"


EXECUTION = (
    "device_sequences",
    "gradient_checkpointing",
    "zero",
    "loss",
    "attention",
    "compile",
    "quantization",
    "save_steps",
    "log_steps",
    "heldout_steps",
    "heldout_bytes",
    "max_loss_rise",
)  # keys of a stage that say how it runs, not what it computes; they reach it as a resource
PLACEMENT = ("gpus", "nodes", "processes")  # where it runs


def stage_block(wildcards):
    return next(
        stage
        for stage in config["recipes"][wildcards.recipe]["stages"]
        if stage["name"] == wildcards.stage
    )


def stage_settings(wildcards):
    block = stage_block(wildcards)
    chosen = {key: value for key, value in block.items() if key not in (*EXECUTION, *PLACEMENT)}
    if block["train"] != "lora":
        chosen.pop("lora")
    if block["publish"] == "best":  # then it matters when and on what was measured
        chosen["publish"] = (
            f"best of {block['heldout_bytes']} bytes every {block['heldout_steps']} steps"
        )
    return canonical(
        {**chosen, "trust_remote_code": config["models"][wildcards.model]["trust_remote_code"]}
    )


def stage_execution(wildcards):
    """How a stage runs, as a resource: changing it does not make a finished stage run again."""
    return canonical({key: stage_block(wildcards)[key] for key in EXECUTION})


def stages_before(wildcards):
    names = stages(wildcards.recipe)
    return config["recipes"][wildcards.recipe]["stages"][: names.index(wildcards.stage)]


def stage_start(wildcards):
    before = stages_before(wildcards)
    if before:
        return f"results/adapted/{ADAPTED}/{before[-1]['name']}".format(**wildcards)
    return "results/initialized/{model}--{tokenizer}/{corpus}/{alignment}".format(**wildcards)


def used_sequences(wildcards):
    """Sequences of the corpus, and of the corpus that this stage mixes in, that earlier stages used."""
    recipe, here = config["recipes"][wildcards.recipe], stage_block(wildcards)["mixture"]
    own = mixed = 0
    for stage in stages_before(wildcards):
        count = stage_steps(stage) * stage["batch_tokens"] // recipe["block"]
        there = stage["mixture"]
        second = mixed_in(count, there["share"]) if there else 0
        own += count - second
        mixed += second if here and there and here["corpus"] == there["corpus"] else 0
    return f"{own} {mixed}"


def blocks_of(corpus, wildcards):
    block = config["recipes"][wildcards.recipe]["block"]
    return f"results/packed/{corpus}/{wildcards.tokenizer}/{block}/blocks.arrow"


def stage_blocks(wildcards):
    return blocks_of(wildcards.corpus, wildcards)


def stage_manifest(wildcards):
    return str(Path(stage_blocks(wildcards)).with_name("manifest.json"))


def stage_mixed(wildcards):
    mixture = stage_block(wildcards)["mixture"]
    return blocks_of(mixture["corpus"], wildcards) if mixture else []


def stage_alignment(wildcards):
    """The table that says which rows are new, for a stage that trains these only."""
    if stage_block(wildcards)["train"] != "new_rows":
        return []
    source = source_tokenizer(wildcards.model)
    return f"results/alignments/{wildcards.corpus}/{source}--{wildcards.tokenizer}/{wildcards.alignment}/tokens.parquet"


def stage_processes(wildcards):
    """Processes on each node: one for each GPU, or as many as the stage says."""
    block = stage_block(wildcards)
    return block["processes"] or max(1, block["gpus"])


def stage_threads(wildcards):
    return 8 * stage_processes(wildcards)


def stage_gpus(wildcards):
    """GPUs of the whole job."""
    block = stage_block(wildcards)
    return block["gpus"] * block["nodes"]


def stage_nodes(wildcards):
    return stage_block(wildcards)["nodes"]


def several_nodes(value):
    """Return a resource function: a value where a stage runs on several nodes, and no such resource on one."""

    def resource(wildcards):
        if stage_nodes(wildcards) == 1:
            return None
        return value(wildcards) if callable(value) else value

    return resource


def tasks_one_a_node(wildcards):
    """Tasks of the job where each node has one; else None, and the number for a node is stated instead."""
    return stage_nodes(wildcards) if stage_processes(wildcards) == 1 else None


def tasks_of_a_node(wildcards):
    """Tasks of each node where it has several: by their number in all, Slurm would share them out unevenly."""
    return stage_processes(wildcards) if stage_processes(wildcards) > 1 else None


def gpus_of_a_node(wildcards):
    """The option of sbatch for the GPUs of each node: by the number of the job (`gpu`), Slurm may share them out unevenly.

    A profile with `gres` states the number for a node itself.
    """
    gpus = stage_block(wildcards)["gpus"]
    if not gpus or in_profile("train_stage", "gres"):
        return None
    model = gpu_model("train_stage")
    return f"--gpus-per-node={model}:{gpus}" if model else f"--gpus-per-node={gpus}"


def stage_labels(wildcards):
    return canonical({**wildcards, "seed": int(wildcards.seed)})
