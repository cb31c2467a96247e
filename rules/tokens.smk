# REQUIRED INPUTS  CORPUS_TEXT, TOKENIZER
# OUTPUTS          TOKENS    token ids of a text shard; the only place where text is tokenized
#                  BLOCKS    training blocks of one length, with BLOCKS_MANIFEST


rule tokenize_shard:
    """Token ids of one text shard under one tokenizer."""
    input:
        text=paths.CORPUS_TEXT,
        tokenizer=paths.TOKENIZER,
    output:
        paths.TOKENS,
    log:
        paths.log("tokenize_shard", paths.TOKENS),
    benchmark:
        paths.benchmark("tokenize_shard", paths.TOKENS)
    conda:
        "../envs/data.yaml"
    threads: 4
    resources:
        mem_mb=memory(8000),
        runtime=runtime(240),
    params:
        version=VERSIONS["tokens"],
    shell:
        'python "$SCRIPTS"/tokens/tokenize_shard.py --text {input.text:q}/{wildcards.shard}.parquet'
        " --tokenizer {input.tokenizer:q} --output {output:q} 2>&1 | tee {log:q}"


rule pack_tokens:
    """Training blocks of one length: documents with EOS between them, cut without loss."""
    input:
        shards=lambda w: study.train_shards(w.corpus, w.tokenizer),
        info=paths.TOKENIZER_INFO,
    output:
        blocks=paths.BLOCKS,
        manifest=paths.BLOCKS_MANIFEST,
    log:
        paths.log("pack_tokens", paths.BLOCKS),
    benchmark:
        paths.benchmark("pack_tokens", paths.BLOCKS)
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(240),
    params:
        version=VERSIONS["packing"],
    shell:
        'python "$SCRIPTS"/tokens/pack_tokens.py --shards {input.shards:q} --tokenizer-info {input.info:q}'
        " --block {wildcards.block} --output {output.blocks:q} --manifest {output.manifest:q} 2>&1 | tee {log:q}"
