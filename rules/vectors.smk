# REQUIRED INPUTS  results/tokens/{corpus}/{tokenizer}/train-*.arrow
# OUTPUTS          results/vectors/{corpus}/{tokenizer}/{vectors}/cooccurrences.safetensors
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
    conda:
        "../envs/vectors.yaml"
    threads: 16
    resources:
        mem_mb=counting_memory,
        counting_mb=counting_bound,
        runtime=720,
    params:
        settings=settings("vectors/{vectors}/count", without=("memory_gb",)),
        version=VERSIONS["cooccurrences"],
    shell:
        'python "$SCRIPTS"/count_cooccurrences.py --shards {input.shards:q} --tokenizer-info {input.info:q}'
        " --settings {params.settings:q} --memory-mb {resources.counting_mb} --threads {threads} --output {output:q} 2>&1 | tee {log:q}"


rule train_vectors:
    """GloVe vectors of one tokenizer's vocabulary, from its co-occurrence counts."""
    input:
        "results/vectors/{corpus}/{tokenizer}/{vectors}/cooccurrences.safetensors",
    output:
        vectors="results/vectors/{corpus}/{tokenizer}/{vectors}/vectors.safetensors",
        objective="results/vectors/{corpus}/{tokenizer}/{vectors}/objective.json",
    log:
        "logs/train_vectors/{corpus}/{tokenizer}/{vectors}.log",
    benchmark:
        "logs/benchmarks/train_vectors/{corpus}/{tokenizer}/{vectors}.tsv"
    conda:
        "../envs/vectors.yaml"
    threads: 16
    resources:
        mem_mb=growing(16000),
        runtime=1440,
    params:
        settings=settings("vectors/{vectors}/glove"),
        version=VERSIONS["glove"],
    shell:
        'python "$SCRIPTS"/train_vectors.py --cooccurrences {input:q} --settings {params.settings:q} --threads {threads}'
        " --vectors {output.vectors:q} --objective {output.objective:q} 2>&1 | tee {log:q}"
