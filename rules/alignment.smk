# REQUIRED INPUTS  TOKENIZER and VOCABULARY of both sides, and VECTORS of both if a method reads them
# OUTPUTS          ALIGNMENT_MATRIX    the sparse matrix A: source tokens and weights of each target token
#                  ALIGNMENT_TABLE     how each target token was found
#                  ALIGNMENT_REPORT    the same for readers
#                  ALIGNMENT_EXPORT    the original TokAlign's format; made only if its path is requested


rule align_vocabularies:
    """A row of source tokens for every target token, by the alignment's ordered list of methods."""
    input:
        source_tokenizer=paths.TOKENIZER.where(tokenizer="{source_tokenizer}"),
        source_vocabulary=paths.VOCABULARY.where(tokenizer="{source_tokenizer}"),
        target_tokenizer=paths.TOKENIZER.where(tokenizer="{target_tokenizer}"),
        target_vocabulary=paths.VOCABULARY.where(tokenizer="{target_tokenizer}"),
        source_vectors=lambda w: study.vectors(w.corpus, w.source_tokenizer, w.alignment),
        target_vectors=lambda w: study.vectors(w.corpus, w.target_tokenizer, w.alignment),
        imported=lambda w: ancient(study.imported_alignment(w.alignment)),
    output:
        matrix=paths.ALIGNMENT_MATRIX,
        table=paths.ALIGNMENT_TABLE,
    log:
        paths.log("align_vocabularies", paths.ALIGNMENT_MATRIX),
    benchmark:
        paths.benchmark("align_vocabularies", paths.ALIGNMENT_MATRIX)
    conda:
        "../envs/vectors.yaml"
    threads: 8
    resources:
        mem_mb=memory(8000, jobs.alignment_mb),
        runtime=runtime(240, jobs.alignment_hours),
    params:
        settings=settings.alignment,
        vectors=options("source_vectors", "target_vectors"),
        content=settings.alignment_content,
        version=VERSIONS["alignment"],
    # Each thread has its own BLAS: matrix products that wait for each other would leave cores idle.
    shell:
        'OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 python "$SCRIPTS"/alignment/align_vocabularies.py'
        " --source-tokenizer {input.source_tokenizer:q} --source-vocabulary {input.source_vocabulary:q}"
        " --target-tokenizer {input.target_tokenizer:q} --target-vocabulary {input.target_vocabulary:q}"
        " {params.vectors} --settings {params.settings:q} --threads {threads}"
        " --matrix {output.matrix:q} --table {output.table:q} 2>&1 | tee {log:q}"


rule export_alignment:
    """An alignment in the format of the original TokAlign: the source token of largest weight for each target token."""
    input:
        paths.ALIGNMENT_MATRIX,
    output:
        paths.ALIGNMENT_EXPORT,
    log:
        paths.log("export_alignment", paths.ALIGNMENT_EXPORT),
    conda:
        "../envs/vectors.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(30),
    params:
        version=VERSIONS["alignment_export"],
    shell:
        'python "$SCRIPTS"/alignment/export_alignment.py --matrix {input:q} --output {output:q} 2>&1 | tee {log:q}'


rule report_alignment:
    """Tokens by category, scores, most-used source tokens and examples of an alignment."""
    input:
        table=paths.ALIGNMENT_TABLE,
        source_vocabulary=paths.VOCABULARY.where(tokenizer="{source_tokenizer}"),
        target_vocabulary=paths.VOCABULARY.where(tokenizer="{target_tokenizer}"),
        shards=lambda w: study.train_shards(w.corpus, w.target_tokenizer),
    output:
        report(
            paths.ALIGNMENT_REPORT,
            caption="../workflow/report/alignment_report.rst",
            category="Alignments",
            labels={
                "corpus": "{corpus}",
                "tokenizers": "{source_tokenizer} to {target_tokenizer}",
                "alignment": "{alignment}",
            },
        ),
    log:
        paths.log("report_alignment", paths.ALIGNMENT_REPORT),
    benchmark:
        paths.benchmark("report_alignment", paths.ALIGNMENT_REPORT)
    conda:
        "../envs/vectors.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(60),
    params:
        labels=labels(
            corpus="{corpus}",
            source_tokenizer="{source_tokenizer}",
            tokenizer="{target_tokenizer}",
            alignment="{alignment}",
        ),
        version=VERSIONS["alignment_report"],
    shell:
        'python "$SCRIPTS"/alignment/report_alignment.py --tokens {input.table:q} --source-vocabulary {input.source_vocabulary:q}'
        " --target-vocabulary {input.target_vocabulary:q} --shards {input.shards:q} --labels {params.labels:q}"
        " --output {output:q} 2>&1 | tee {log:q}"
