# REQUIRED INPUTS  results/corpora/{corpus}/text, any checkpoint, results/tokens/{corpus}/{tokenizer}/validation.arrow
# OUTPUTS          results/evaluations/{evaluation}/documents.parquet                held-out text, the same for every model
#                  results/evaluations/{evaluation}/perplexity/{checkpoint}.json     {checkpoint}: its path under results/
#                  results/evaluations/{evaluation}/tokenizers/{tokenizer}.json


def evaluation_text(wildcards):
    return f"results/corpora/{config['evaluations'][wildcards.evaluation]['corpus']}/text"


rule sample_heldout:
    """Documents of the validation split, up to a number of bytes for each language and domain."""
    input:
        evaluation_text,
    output:
        "results/evaluations/{evaluation}/documents.parquet",
    params:
        settings=settings("evaluations/{evaluation}/sample"),
        version=VERSIONS["heldout"],
    log:
        "logs/sample_heldout/{evaluation}.log",
    benchmark:
        "logs/benchmarks/sample_heldout/{evaluation}.tsv"
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    shell:
        "python {SCRIPTS}/sample_heldout.py --validation {input:q}/validation.parquet --settings {params.settings:q}"
        " --output {output:q} 2>&1 | tee {log:q}"


def checkpoint_names(checkpoint):
    """The names that a checkpoint's path is made of."""
    parts = checkpoint.split("/")
    if parts[0] == "models":
        return {"model": parts[1], "tokenizer": source_tokenizer(parts[1]), "stage": "source"}
    model, tokenizer = parts[1].split("--")
    names = {"model": model, "tokenizer": tokenizer, "corpus": parts[2], "alignment": parts[3], "stage": "initialised"}
    if parts[0] == "adapted":
        names |= {"recipe": parts[4], "seed": int(parts[5].removeprefix("s")), "stage": parts[6]}
    return names


def checkpoint_labels(wildcards):
    return canonical({"evaluation": wildcards.evaluation, **checkpoint_names(wildcards.checkpoint)})


def checkpoint_tokenizer(wildcards):
    return f"results/tokenizers/{checkpoint_names(wildcards.checkpoint)['tokenizer']}/hf"


def perplexity_settings(wildcards):
    block = config["evaluations"][wildcards.evaluation]["perplexity"]
    model = checkpoint_names(wildcards.checkpoint)["model"]
    return canonical({**block, "trust_remote_code": config["models"][model]["trust_remote_code"]})


def evaluation_gpus(wildcards):
    return config["evaluations"][wildcards.evaluation]["gpus"]


rule evaluate_perplexity:
    """Bits per byte and perplexity of one checkpoint on the held-out documents."""
    input:
        model="results/{checkpoint}",
        tokenizer=checkpoint_tokenizer,
        documents="results/evaluations/{evaluation}/documents.parquet",
    output:
        "results/evaluations/{evaluation}/perplexity/{checkpoint}.json",
    params:
        settings=perplexity_settings,
        labels=checkpoint_labels,
        version=VERSIONS["perplexity"],
    wildcard_constraints:
        checkpoint=f"models/{NAME}/hf|initialised/.+|adapted/.+",
    log:
        "logs/evaluate_perplexity/{evaluation}/{checkpoint}.log",
    benchmark:
        "logs/benchmarks/evaluate_perplexity/{evaluation}/{checkpoint}.tsv"
    conda:
        "../envs/evaluate.yaml"
    threads: 8
    resources:
        mem_mb=32000,
        runtime=240,
        gpu=evaluation_gpus,
    shell:
        "python {SCRIPTS}/evaluate_perplexity.py --model {input.model:q} --tokenizer {input.tokenizer:q}"
        " --documents {input.documents:q} --settings {params.settings:q} --labels {params.labels:q} --threads {threads}"
        " --output {output:q} 2>&1 | tee {log:q}"


def evaluation_shard(wildcards):
    corpus = config["evaluations"][wildcards.evaluation]["corpus"]
    return f"results/tokens/{corpus}/{wildcards.tokenizer}/validation.arrow"


def tokenizer_labels(wildcards):
    return canonical(
        {
            "evaluation": wildcards.evaluation,
            "corpus": config["evaluations"][wildcards.evaluation]["corpus"],
            "tokenizer": wildcards.tokenizer,
        }
    )


rule evaluate_tokenizer:
    """Fertility and bytes per token of one tokenizer on the whole validation split, by language."""
    input:
        shard=evaluation_shard,
        vocabulary="results/tokenizers/{tokenizer}/vocabulary.parquet",
    output:
        "results/evaluations/{evaluation}/tokenizers/{tokenizer}.json",
    params:
        labels=tokenizer_labels,
        version=VERSIONS["tokenizer_metrics"],
    log:
        "logs/evaluate_tokenizer/{evaluation}/{tokenizer}.log",
    benchmark:
        "logs/benchmarks/evaluate_tokenizer/{evaluation}/{tokenizer}.tsv"
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "python {SCRIPTS}/evaluate_tokenizer.py --shard {input.shard:q} --vocabulary {input.vocabulary:q}"
        " --labels {params.labels:q} --output {output:q} 2>&1 | tee {log:q}"
