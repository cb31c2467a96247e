# REQUIRED INPUTS  results/alignments/.../tokens.parquet, results/tokenizers/*/, results/evaluations/{evaluation}/documents.parquet
# OUTPUTS          results/evaluations/{evaluation}/alignments/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}.json


rule evaluate_alignment:
    """BLEU, likeness of rewritten text and coverage of one alignment on the held-out documents, without a model."""
    input:
        tokens=f"{ALIGNMENT}/tokens.parquet",
        source="results/tokenizers/{source_tokenizer}/hf",
        source_vocabulary="results/tokenizers/{source_tokenizer}/vocabulary.parquet",
        target="results/tokenizers/{target_tokenizer}/hf",
        target_vocabulary="results/tokenizers/{target_tokenizer}/vocabulary.parquet",
        documents="results/evaluations/{evaluation}/documents.parquet",
        fetched=embedder_fetched,
    output:
        "results/evaluations/{evaluation}/alignments/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}.json",
    log:
        "logs/evaluate_alignment/{evaluation}/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}.log",
    benchmark:
        "logs/benchmarks/evaluate_alignment/{evaluation}/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}.tsv"
    conda:
        "../envs/evaluate.yaml"
    threads: threads_of("evaluate_alignment", 2)
    resources:
        mem_mb=memory_of("evaluate_alignment", 8000),
        runtime=runtime_of("evaluate_alignment", 120),
        gpu=embedder_gpus,
    params:
        settings=alignment_score_settings,
        fetched=option_of("--fetched", "fetched"),
        content=embedder_content,
        labels=alignment_score_labels,
        version=VERSIONS["alignment_scores"],
    shell:
        'python "$SCRIPTS"/evaluation/evaluate_alignment.py --tokens {input.tokens:q} --source-tokenizer {input.source:q}'
        " --source-vocabulary {input.source_vocabulary:q} --target-tokenizer {input.target:q}"
        " --target-vocabulary {input.target_vocabulary:q} --documents {input.documents:q} --settings {params.settings:q}"
        " {params.fetched} --labels {params.labels:q} --threads {threads} --output {output:q} 2>&1 | tee {log:q}"
