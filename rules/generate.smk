# REQUIRED INPUTS  any checkpoint, results/testsets/{testset}/items.parquet, results/evaluations/{evaluation}/documents.parquet
# OUTPUTS          results/evaluations/{evaluation}/{translation,generation,efficiency}/{checkpoint}.json and .parquet


rule translate_segments:
    """Translations of parallel test sets by prompts, with BLEU, chrF++ and TER."""
    input:
        model="results/{checkpoint}",
        tokenizer=checkpoint_tokenizer,
        testsets=translation_testsets,
    output:
        result="results/evaluations/{evaluation}/translation/{checkpoint}.json",
        rows="results/evaluations/{evaluation}/translation/{checkpoint}.parquet",
    log:
        "logs/translate_segments/{evaluation}/{checkpoint}.log",
    benchmark:
        "logs/benchmarks/translate_segments/{evaluation}/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=CHECKPOINT,
    conda:
        "../envs/evaluate.yaml"
    threads: threads_of("translate_segments", 8)
    resources:
        mem_mb=memory_of("translate_segments", 32000, scoring_estimate),
        runtime=runtime_of("translate_segments", 240),
        gpu=evaluation_gpus,
    params:
        settings=suite_settings("translation"),
        labels=checkpoint_labels,
        version=VERSIONS["translation"],
    shell:
        'python "$SCRIPTS"/evaluation/translate_segments.py --model {input.model:q} --tokenizer {input.tokenizer:q}'
        " --testsets {input.testsets:q} --settings {params.settings:q} --labels {params.labels:q}"
        " --threads {threads} --output {output.result:q} 2>&1 | tee {log:q}"


rule generate_text:
    """Continuations of prompts: diversity, repetition, length."""
    input:
        model="results/{checkpoint}",
        tokenizer=checkpoint_tokenizer,
        prompts=generation_prompts,
    output:
        result="results/evaluations/{evaluation}/generation/{checkpoint}.json",
        rows="results/evaluations/{evaluation}/generation/{checkpoint}.parquet",
    log:
        "logs/generate_text/{evaluation}/{checkpoint}.log",
    benchmark:
        "logs/benchmarks/generate_text/{evaluation}/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=CHECKPOINT,
    conda:
        "../envs/evaluate.yaml"
    threads: threads_of("generate_text", 8)
    resources:
        mem_mb=memory_of("generate_text", 32000, scoring_estimate),
        runtime=runtime_of("generate_text", 240),
        gpu=evaluation_gpus,
    params:
        settings=suite_settings("generation"),
        labels=checkpoint_labels,
        version=VERSIONS["generation"],
    shell:
        'python "$SCRIPTS"/evaluation/generate_text.py --model {input.model:q} --tokenizer {input.tokenizer:q}'
        " --prompts {input.prompts:q} --settings {params.settings:q} --labels {params.labels:q}"
        " --threads {threads} --output {output.result:q} 2>&1 | tee {log:q}"


rule measure_efficiency:
    """Speed, latency and memory of reading and writing text."""
    input:
        model="results/{checkpoint}",
        tokenizer=checkpoint_tokenizer,
        documents="results/evaluations/{evaluation}/documents.parquet",
    output:
        result="results/evaluations/{evaluation}/efficiency/{checkpoint}.json",
        rows="results/evaluations/{evaluation}/efficiency/{checkpoint}.parquet",
    log:
        "logs/measure_efficiency/{evaluation}/{checkpoint}.log",
    benchmark:
        "logs/benchmarks/measure_efficiency/{evaluation}/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=CHECKPOINT,
    conda:
        "../envs/evaluate.yaml"
    threads: threads_of("measure_efficiency", 8)
    resources:
        mem_mb=memory_of("measure_efficiency", 32000, scoring_estimate),
        runtime=runtime_of("measure_efficiency", 240),
        gpu=evaluation_gpus,
    params:
        settings=suite_settings("efficiency"),
        labels=checkpoint_labels,
        version=VERSIONS["efficiency"],
    shell:
        'python "$SCRIPTS"/evaluation/measure_efficiency.py --model {input.model:q} --tokenizer {input.tokenizer:q}'
        " --documents {input.documents:q} --settings {params.settings:q} --labels {params.labels:q}"
        " --threads {threads} --output {output.result:q} 2>&1 | tee {log:q}"
