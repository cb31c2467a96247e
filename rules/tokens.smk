# REQUIRED INPUTS  results/corpora/{corpus}/text, results/tokenizers/{tokenizer}/hf
# OUTPUTS          results/tokens/{corpus}/{tokenizer}/{shard}.arrow          the only tokenization there is
#                  results/packed/{corpus}/{tokenizer}/{block}/blocks.arrow   training blocks


rule tokenize_shard:
    """Token ids of one text shard under one tokenizer."""
    input:
        text="results/corpora/{corpus}/text",
        tokenizer="results/tokenizers/{tokenizer}/hf",
    output:
        "results/tokens/{corpus}/{tokenizer}/{shard}.arrow",
    log:
        "logs/tokenize_shard/{corpus}/{tokenizer}/{shard}.log",
    benchmark:
        "logs/benchmarks/tokenize_shard/{corpus}/{tokenizer}/{shard}.tsv"
    conda:
        "../envs/data.yaml"
    threads: threads_of("tokenize_shard", 4)
    resources:
        mem_mb=memory_of("tokenize_shard", 8000),
        runtime=runtime_of("tokenize_shard", 240),
    params:
        version=VERSIONS["tokens"],
    shell:
        'python "$SCRIPTS"/tokens/tokenize_shard.py --text {input.text:q}/{wildcards.shard}.parquet'
        " --tokenizer {input.tokenizer:q} --output {output:q} 2>&1 | tee {log:q}"


rule pack_tokens:
    """Training blocks of one length: documents with EOS between them, cut without loss."""
    input:
        shards=train_shards("results/tokens/{corpus}/{tokenizer}/{shard}.arrow"),
        info="results/tokenizers/{tokenizer}/info.json",
    output:
        blocks="results/packed/{corpus}/{tokenizer}/{block}/blocks.arrow",
        manifest="results/packed/{corpus}/{tokenizer}/{block}/manifest.json",
    log:
        "logs/pack_tokens/{corpus}/{tokenizer}/{block}.log",
    benchmark:
        "logs/benchmarks/pack_tokens/{corpus}/{tokenizer}/{block}.tsv"
    conda:
        "../envs/data.yaml"
    threads: threads_of("pack_tokens", 1)
    resources:
        mem_mb=memory_of("pack_tokens", 4000),
        runtime=runtime_of("pack_tokens", 240),
    params:
        version=VERSIONS["packing"],
    shell:
        'python "$SCRIPTS"/tokens/pack_tokens.py --shards {input.shards:q} --tokenizer-info {input.info:q} --block {wildcards.block}'
        " --output {output.blocks:q} --manifest {output.manifest:q} 2>&1 | tee {log:q}"
