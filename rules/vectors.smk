# REQUIRED INPUTS  TOKENS of the training shards; a local file, if vectors are imported
# OUTPUTS          COOCCURRENCES    counts for GloVe
#                  VECTORS          vectors of the tokens of one tokenizer, with OBJECTIVE


rule count_cooccurrences:
    """How often tokens stand near each other, weighted by 1/distance."""
    input:
        shards=lambda w: study.train_shards(w.corpus, w.tokenizer),
        info=paths.TOKENIZER_INFO,
    output:
        paths.COOCCURRENCES,
    log:
        paths.log("count_cooccurrences", paths.COOCCURRENCES),
    benchmark:
        paths.benchmark("count_cooccurrences", paths.COOCCURRENCES)
    wildcard_constraints:
        vectors=names_pattern("vectors", lambda block: block["method"] == "glove"),
    conda:
        "../envs/vectors.yaml"
    threads: 16
    resources:
        mem_mb=memory(8000, jobs.counting_mb),
        counting_mb=lambda w: int(config["vectors"][w.vectors]["count"]["memory_gb"] * 1000),
        runtime=runtime(720, jobs.counting_hours),
    params:
        settings=settings.block("vectors/{vectors}/count", without=("memory_gb",)),
        version=VERSIONS["cooccurrences"],
    shell:
        'python "$SCRIPTS"/vectors/count_cooccurrences.py --shards {input.shards:q} --tokenizer-info {input.info:q}'
        " --settings {params.settings:q} --memory-mb {resources.counting_mb} --threads {threads}"
        " --output {output:q} 2>&1 | tee {log:q}"


rule train_glove_vectors:
    """GloVe vectors of one tokenizer's vocabulary, from its co-occurrence counts."""
    input:
        paths.COOCCURRENCES,
    output:
        vectors=paths.VECTORS,
        objective=paths.OBJECTIVE,
    log:
        paths.log("train_glove_vectors", paths.VECTORS),
    benchmark:
        paths.benchmark("train_glove_vectors", paths.VECTORS)
    wildcard_constraints:
        vectors=names_pattern("vectors", lambda block: block["method"] == "glove"),
    conda:
        "../envs/vectors.yaml"
    threads: 16
    resources:
        mem_mb=memory(16000, jobs.glove_mb),
        runtime=runtime(1440, jobs.glove_hours),
    params:
        settings=settings.block("vectors/{vectors}/glove"),
        version=VERSIONS["glove"],
    shell:
        'python "$SCRIPTS"/vectors/train_glove_vectors.py --cooccurrences {input:q} --settings {params.settings:q}'
        " --threads {threads} --vectors {output.vectors:q} --objective {output.objective:q} 2>&1 | tee {log:q}"


rule train_fasttext_vectors:
    """Vectors by fastText of one tokenizer's vocabulary, from the text itself; reproducible on one thread, the default."""
    input:
        shards=lambda w: study.train_shards(w.corpus, w.tokenizer),
        info=paths.TOKENIZER_INFO,
    output:
        vectors=paths.VECTORS,
        objective=paths.OBJECTIVE,
    log:
        paths.log("train_fasttext_vectors", paths.VECTORS),
    benchmark:
        paths.benchmark("train_fasttext_vectors", paths.VECTORS)
    wildcard_constraints:
        vectors=names_pattern("vectors", lambda block: block["method"] == "fasttext"),
    conda:
        "../envs/vectors.yaml"
    threads: lambda w: config["vectors"][w.vectors]["fasttext"]["threads"]
    resources:
        mem_mb=memory(16000),
        runtime=runtime(2880),
    params:
        settings=settings.block("vectors/{vectors}/fasttext"),
        version=VERSIONS["fasttext"],
    shell:
        'python "$SCRIPTS"/vectors/train_fasttext_vectors.py --shards {input.shards:q} --tokenizer-info {input.info:q}'
        " --settings {params.settings:q} --vectors {output.vectors:q} --objective {output.objective:q} 2>&1 | tee {log:q}"


rule import_vectors:
    """Vectors trained elsewhere, from a local file in GloVe's text format; tokens are counted in the corpus."""
    input:
        text=lambda w: ancient(config["vectors"][w.vectors]["imported"]["files"][w.tokenizer]),
        shards=lambda w: study.train_shards(w.corpus, w.tokenizer),
        info=paths.TOKENIZER_INFO,
    output:
        vectors=paths.VECTORS,
        objective=paths.OBJECTIVE,
    log:
        paths.log("import_vectors", paths.VECTORS),
    benchmark:
        paths.benchmark("import_vectors", paths.VECTORS)
    wildcard_constraints:
        vectors=names_pattern("vectors", lambda block: block["method"] == "imported"),
    conda:
        "../envs/vectors.yaml"
    threads: 4
    resources:
        mem_mb=memory(8000),
        runtime=runtime(120),
    params:
        content=settings.imported_vectors_content,
        version=VERSIONS["imported_vectors"],
    shell:
        'python "$SCRIPTS"/vectors/convert_vectors.py import --text {input.text:q} --tokenizer-info {input.info:q}'
        " --shards {input.shards:q} --threads {threads} --vectors {output.vectors:q} --objective {output.objective:q}"
        " 2>&1 | tee {log:q}"
