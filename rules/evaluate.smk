# REQUIRED INPUTS  results/corpora/{corpus}/text, any checkpoint, results/tokens/{corpus}/{tokenizer}/validation.arrow
# OUTPUTS          results/evaluations/{evaluation}/documents.parquet                held-out text, the same for every model
#                  results/evaluations/{evaluation}/perplexity/{checkpoint}.json     {checkpoint}: its path under results/
#                  results/evaluations/{evaluation}/tokenizers/{tokenizer}.json


rule sample_heldout:
    """Documents of the validation split, up to a number of bytes for each language and domain."""
    input:
        evaluation_text,
    output:
        "results/evaluations/{evaluation}/documents.parquet",
    log:
        "logs/sample_heldout/{evaluation}.log",
    benchmark:
        "logs/benchmarks/sample_heldout/{evaluation}.tsv"
    conda:
        "../envs/evaluate.yaml"
    threads: threads_of("sample_heldout", 1)
    resources:
        mem_mb=memory_of("sample_heldout", 4000),
        runtime=runtime_of("sample_heldout", 30),
    params:
        settings=settings("evaluations/{evaluation}/sample"),
        version=VERSIONS["heldout"],
    shell:
        'python "$SCRIPTS"/evaluation/sample_heldout.py --validation {input:q}/validation.parquet --settings {params.settings:q}'
        " --output {output:q} 2>&1 | tee {log:q}"


rule evaluate_perplexity:
    """Bits per byte and perplexity of one checkpoint on the held-out documents."""
    input:
        model="results/{checkpoint}",
        tokenizer=checkpoint_tokenizer,
        documents="results/evaluations/{evaluation}/documents.parquet",
        reference=reference_tokenizer,
    output:
        result="results/evaluations/{evaluation}/perplexity/{checkpoint}.json",
        rows="results/evaluations/{evaluation}/perplexity/{checkpoint}.parquet",
    log:
        "logs/evaluate_perplexity/{evaluation}/{checkpoint}.log",
    benchmark:
        "logs/benchmarks/evaluate_perplexity/{evaluation}/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=CHECKPOINT,
    conda:
        "../envs/evaluate.yaml"
    threads: threads_of("evaluate_perplexity", 8)
    resources:
        mem_mb=memory_of("evaluate_perplexity", 32000, scoring_estimate),
        runtime=runtime_of("evaluate_perplexity", 240, scoring_time),
        gpu=evaluation_gpus,
    params:
        settings=suite_settings("perplexity"),
        labels=checkpoint_labels,
        version=VERSIONS["perplexity"],
    shell:
        'python "$SCRIPTS"/evaluation/evaluate_perplexity.py --model {input.model:q} --tokenizer {input.tokenizer:q}'
        " --reference-tokenizer {input.reference:q} --documents {input.documents:q} --settings {params.settings:q}"
        " --labels {params.labels:q} --threads {threads} --output {output.result:q} 2>&1 | tee {log:q}"


rule evaluate_tokenizer:
    """Fertility and bytes per token of one tokenizer on the whole validation split, by language."""
    input:
        shard=evaluation_shard,
        vocabulary="results/tokenizers/{tokenizer}/vocabulary.parquet",
        tokenizer="results/tokenizers/{tokenizer}/hf",
        testset=tokenizer_testset,
    output:
        result="results/evaluations/{evaluation}/tokenizers/{tokenizer}.json",
        rows="results/evaluations/{evaluation}/tokenizers/{tokenizer}.parquet",
    log:
        "logs/evaluate_tokenizer/{evaluation}/{tokenizer}.log",
    benchmark:
        "logs/benchmarks/evaluate_tokenizer/{evaluation}/{tokenizer}.tsv"
    conda:
        "../envs/evaluate.yaml"
    threads: threads_of("evaluate_tokenizer", 1)
    resources:
        mem_mb=memory_of("evaluate_tokenizer", 4000),
        runtime=runtime_of("evaluate_tokenizer", 60),
    params:
        settings=tokenizer_settings_of,
        testset=option_of("--testset", "testset"),
        labels=tokenizer_labels,
        version=VERSIONS["tokenizer_metrics"],
    shell:
        'python "$SCRIPTS"/evaluation/evaluate_tokenizer.py --shard {input.shard:q} --vocabulary {input.vocabulary:q}'
        " --tokenizer {input.tokenizer:q} {params.testset} --settings {params.settings:q} --labels {params.labels:q}"
        " --output {output.result:q} 2>&1 | tee {log:q}"
