# REQUIRED INPUTS  results/initialised/... or the stage before, results/packed/{corpus}/{tokenizer}/{block}/blocks.arrow
# OUTPUTS          results/adapted/{model}--{tokenizer}/{corpus}/{alignment}/{recipe}/s{seed}/{stage}
#
# The state of a running stage is kept under work/, which Snakemake does not delete when a job ends early.

ADAPTED = "{model}--{tokenizer}/{corpus}/{alignment}/{recipe}/s{seed}"

EXECUTION = ("gpus",)  # keys of a stage that say where it runs, not what it computes


def stage_block(wildcards):
    return next(stage for stage in config["recipes"][wildcards.recipe]["stages"] if stage["name"] == wildcards.stage)


def stage_settings(wildcards):
    chosen = {key: value for key, value in stage_block(wildcards).items() if key not in EXECUTION}
    return canonical({**chosen, "trust_remote_code": config["models"][wildcards.model]["trust_remote_code"]})


def stages_before(wildcards):
    names = stages(wildcards.recipe)
    return config["recipes"][wildcards.recipe]["stages"][: names.index(wildcards.stage)]


def stage_start(wildcards):
    before = stages_before(wildcards)
    if before:
        return f"results/adapted/{ADAPTED}/{before[-1]['name']}".format(**wildcards)
    return "results/initialised/{model}--{tokenizer}/{corpus}/{alignment}".format(**wildcards)


def used_sequences(wildcards):
    return sum(stage["steps"] * stage["batch_sequences"] for stage in stages_before(wildcards))


def stage_blocks(wildcards):
    block = config["recipes"][wildcards.recipe]["block"]
    return f"results/packed/{wildcards.corpus}/{wildcards.tokenizer}/{block}/blocks.arrow"


def stage_gpus(wildcards):
    return stage_block(wildcards)["gpus"]


def stage_labels(wildcards):
    return canonical({**wildcards, "seed": int(wildcards.seed)})


rule train_stage:
    """One stage of a recipe, continued where an interruption left it."""
    input:
        model=stage_start,
        blocks=stage_blocks,
        model_info="results/models/{model}/info.json",
        tokenizer_info="results/tokenizers/{tokenizer}/info.json",
        manifest="results/corpora/{corpus}/manifest.json",
    output:
        directory(f"results/adapted/{ADAPTED}/{{stage}}"),
    params:
        settings=stage_settings,
        used=used_sequences,
        labels=stage_labels,
        state=f"work/adapted/{ADAPTED}/{{stage}}",
        version=VERSIONS["training"],
    log:
        f"logs/train_stage/{ADAPTED}/{{stage}}.log",
    benchmark:
        f"logs/benchmarks/train_stage/{ADAPTED}/{{stage}}.tsv"
    conda:
        "../envs/train.yaml"
    threads: 8
    resources:
        mem_mb=64000,
        runtime=1440,
        gpu=stage_gpus,
    shell:
        "python {SCRIPTS}/train_stage.py --model {input.model:q} --blocks {input.blocks:q} --settings {params.settings:q}"
        " --seed {wildcards.seed} --used-sequences {params.used} --minutes {resources.runtime} --labels {params.labels:q}"
        " --model-info {input.model_info:q} --tokenizer-info {input.tokenizer_info:q} --corpus-manifest {input.manifest:q}"
        " --state {params.state:q} --threads {threads} --output {output:q} 2>&1 | tee {log:q}"
