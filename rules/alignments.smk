# REQUIRED INPUTS  results/tokenizers/*/, and results/vectors/{corpus}/*/{vectors}/vectors.safetensors where a method reads them
# OUTPUTS          results/alignments/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}/alignment.safetensors
#                  .../tokens.parquet    how each target token was found
#                  .../report.json       the same for people
#                  .../align_matrix.json  the original TokAlign's format; only where it is asked for by this path


rule align_vocabularies:
    """A row of source tokens for every target token, by the alignment's ordered list of methods."""
    input:
        source="results/tokenizers/{source_tokenizer}/hf",
        source_vocabulary="results/tokenizers/{source_tokenizer}/vocabulary.parquet",
        target="results/tokenizers/{target_tokenizer}/hf",
        target_vocabulary="results/tokenizers/{target_tokenizer}/vocabulary.parquet",
        source_vectors=alignment_vectors("source_tokenizer"),
        target_vectors=alignment_vectors("target_tokenizer"),
        imported=alignment_imported,
    output:
        matrix=f"{ALIGNMENT}/alignment.safetensors",
        table=f"{ALIGNMENT}/tokens.parquet",
    log:
        "logs/align_vocabularies/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}.log",
    benchmark:
        "logs/benchmarks/align_vocabularies/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}.tsv"
    conda:
        "../envs/vectors.yaml"
    threads: threads_of("align_vocabularies", 8)
    resources:
        mem_mb=memory_of("align_vocabularies", 8000, alignment_estimate),
        runtime=runtime_of("align_vocabularies", 240, alignment_time),
    params:
        settings=alignment_settings,
        source_vectors=option_of("--source-vectors", "source_vectors"),
        target_vectors=option_of("--target-vectors", "target_vectors"),
        content=alignment_content,
        version=VERSIONS["alignment"],
    # Each thread has a BLAS of its own: matrix products that wait for each other would leave cores idle.
    shell:
        'OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 python "$SCRIPTS"/alignment/align_vocabularies.py'
        " --source-tokenizer {input.source:q} --source-vocabulary {input.source_vocabulary:q}"
        " --target-tokenizer {input.target:q} --target-vocabulary {input.target_vocabulary:q}"
        " {params.source_vectors} {params.target_vectors} --settings {params.settings:q}"
        " --threads {threads} --matrix {output.matrix:q} --table {output.table:q} 2>&1 | tee {log:q}"


rule export_alignment:
    """An alignment as the original TokAlign writes it: the source token of greatest weight for each target token."""
    input:
        f"{ALIGNMENT}/alignment.safetensors",
    output:
        f"{ALIGNMENT}/align_matrix.json",
    log:
        "logs/export_alignment/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}.log",
    conda:
        "../envs/vectors.yaml"
    threads: threads_of("export_alignment", 1)
    resources:
        mem_mb=memory_of("export_alignment", 4000),
        runtime=runtime_of("export_alignment", 30),
    params:
        version=VERSIONS["alignment_export"],
    shell:
        'python "$SCRIPTS"/alignment/export_alignment.py --matrix {input:q} --output {output:q} 2>&1 | tee {log:q}'


rule report_alignment:
    """Tokens by category, scores, most-used source tokens and examples of an alignment."""
    input:
        table=f"{ALIGNMENT}/tokens.parquet",
        source_vocabulary="results/tokenizers/{source_tokenizer}/vocabulary.parquet",
        target_vocabulary="results/tokenizers/{target_tokenizer}/vocabulary.parquet",
        shards=target_shards,
    output:
        report(
            f"{ALIGNMENT}/report.json",
            caption="../workflow/report/alignment_report.rst",
            category="Alignments",
            labels={
                "corpus": "{corpus}",
                "tokenizers": "{source_tokenizer} to {target_tokenizer}",
                "alignment": "{alignment}",
            },
        ),
    log:
        "logs/report_alignment/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}.log",
    benchmark:
        "logs/benchmarks/report_alignment/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}.tsv"
    conda:
        "../envs/vectors.yaml"
    threads: threads_of("report_alignment", 1)
    resources:
        mem_mb=memory_of("report_alignment", 4000),
        runtime=runtime_of("report_alignment", 60),
    params:
        labels=alignment_labels,
        version=VERSIONS["alignment_report"],
    shell:
        'python "$SCRIPTS"/alignment/report_alignment.py --tokens {input.table:q} --source-vocabulary {input.source_vocabulary:q}'
        " --target-vocabulary {input.target_vocabulary:q} --shards {input.shards:q} --labels {params.labels:q}"
        " --output {output:q} 2>&1 | tee {log:q}"
