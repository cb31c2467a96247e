# REQUIRED INPUTS  results/tokens/{corpus}/{tokenizer}/train-*.arrow
#                  a local file, where vectors are imported
# OUTPUTS          results/vectors/{corpus}/{tokenizer}/{vectors}/cooccurrences.safetensors   for GloVe
#                  results/vectors/{corpus}/{tokenizer}/{vectors}/vectors.safetensors, objective.json


rule count_cooccurrences:
    """How often tokens stand near each other, weighted by 1/distance."""
    input:
        shards=train_shards("results/tokens/{corpus}/{tokenizer}/{shard}.arrow"),
        info="results/tokenizers/{tokenizer}/info.json",
    output:
        "results/vectors/{corpus}/{tokenizer}/{vectors}/cooccurrences.safetensors",
    log:
        "logs/count_cooccurrences/{corpus}/{tokenizer}/{vectors}.log",
    benchmark:
        "logs/benchmarks/count_cooccurrences/{corpus}/{tokenizer}/{vectors}.tsv"
    wildcard_constraints:
        vectors=names_pattern(GLOVE),
    conda:
        "../envs/vectors.yaml"
    threads: threads_of("count_cooccurrences", 16)
    resources:
        mem_mb=memory_of("count_cooccurrences", 8000, counting_estimate),
        counting_mb=counting_bound,
        runtime=runtime_of("count_cooccurrences", 720, counting_time),
    params:
        settings=settings("vectors/{vectors}/count", without=("memory_gb",)),
        version=VERSIONS["cooccurrences"],
    shell:
        'python "$SCRIPTS"/vectors/count_cooccurrences.py --shards {input.shards:q} --tokenizer-info {input.info:q}'
        " --settings {params.settings:q} --memory-mb {resources.counting_mb} --threads {threads} --output {output:q} 2>&1 | tee {log:q}"


rule train_glove_vectors:
    """GloVe vectors of one tokenizer's vocabulary, from its co-occurrence counts."""
    input:
        "results/vectors/{corpus}/{tokenizer}/{vectors}/cooccurrences.safetensors",
    output:
        vectors="results/vectors/{corpus}/{tokenizer}/{vectors}/vectors.safetensors",
        objective="results/vectors/{corpus}/{tokenizer}/{vectors}/objective.json",
    log:
        "logs/train_glove_vectors/{corpus}/{tokenizer}/{vectors}.log",
    benchmark:
        "logs/benchmarks/train_glove_vectors/{corpus}/{tokenizer}/{vectors}.tsv"
    wildcard_constraints:
        vectors=names_pattern(GLOVE),
    conda:
        "../envs/vectors.yaml"
    threads: threads_of("train_glove_vectors", 16)
    resources:
        mem_mb=memory_of("train_glove_vectors", 16000, glove_estimate),
        runtime=runtime_of("train_glove_vectors", 1440, glove_time),
    params:
        settings=settings("vectors/{vectors}/glove"),
        version=VERSIONS["glove"],
    shell:
        'python "$SCRIPTS"/vectors/train_glove_vectors.py --cooccurrences {input:q} --settings {params.settings:q} --threads {threads}'
        " --vectors {output.vectors:q} --objective {output.objective:q} 2>&1 | tee {log:q}"


rule train_fasttext_vectors:
    """The same by fastText, from the text itself; on one thread unless the settings say otherwise, so that it can be repeated."""
    input:
        shards=train_shards("results/tokens/{corpus}/{tokenizer}/{shard}.arrow"),
        info="results/tokenizers/{tokenizer}/info.json",
    output:
        vectors="results/vectors/{corpus}/{tokenizer}/{vectors}/vectors.safetensors",
        objective="results/vectors/{corpus}/{tokenizer}/{vectors}/objective.json",
    log:
        "logs/train_fasttext_vectors/{corpus}/{tokenizer}/{vectors}.log",
    benchmark:
        "logs/benchmarks/train_fasttext_vectors/{corpus}/{tokenizer}/{vectors}.tsv"
    wildcard_constraints:
        vectors=names_pattern(FASTTEXT),
    conda:
        "../envs/vectors.yaml"
    threads: fasttext_threads
    resources:
        mem_mb=memory_of("train_fasttext_vectors", 16000),
        runtime=runtime_of("train_fasttext_vectors", 2880),
    params:
        settings=settings("vectors/{vectors}/fasttext"),
        version=VERSIONS["fasttext"],
    shell:
        'python "$SCRIPTS"/vectors/train_fasttext_vectors.py --shards {input.shards:q} --tokenizer-info {input.info:q}'
        " --settings {params.settings:q} --vectors {output.vectors:q} --objective {output.objective:q} 2>&1 | tee {log:q}"


rule import_vectors:
    """Vectors that were trained elsewhere, from a local file in GloVe's text format; tokens are counted in the corpus."""
    input:
        text=imported_file,
        shards=train_shards("results/tokens/{corpus}/{tokenizer}/{shard}.arrow"),
        info="results/tokenizers/{tokenizer}/info.json",
    output:
        vectors="results/vectors/{corpus}/{tokenizer}/{vectors}/vectors.safetensors",
        objective="results/vectors/{corpus}/{tokenizer}/{vectors}/objective.json",
    log:
        "logs/import_vectors/{corpus}/{tokenizer}/{vectors}.log",
    benchmark:
        "logs/benchmarks/import_vectors/{corpus}/{tokenizer}/{vectors}.tsv"
    wildcard_constraints:
        vectors=names_pattern(IMPORTED),
    conda:
        "../envs/vectors.yaml"
    threads: threads_of("import_vectors", 4)
    resources:
        mem_mb=memory_of("import_vectors", 8000),
        runtime=runtime_of("import_vectors", 120),
    params:
        content=imported_content,
        version=VERSIONS["imported_vectors"],
    shell:
        'python "$SCRIPTS"/vectors/convert_vectors.py import --text {input.text:q} --tokenizer-info {input.info:q} --shards {input.shards:q}'
        " --threads {threads} --vectors {output.vectors:q} --objective {output.objective:q} 2>&1 | tee {log:q}"
