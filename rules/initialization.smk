# REQUIRED INPUTS  MODEL, ALIGNMENT_MATRIX, TOKENIZER; ALIGNMENT_TABLE, if the treatment of rows depends on how they were found;
#                  TOKENS of the training shards, if rows are fitted to the model
# OUTPUTS          FITTED         rows fitted to the model
#                  INITIALIZED    a checkpoint with the new tokenizer


rule fit_rows:
    """Rows fitted to the model in closed form: merged rows for tokens it never had, and a calibrated head."""
    input:
        model=paths.MODEL,
        matrix=lambda w: study.alignment(paths.ALIGNMENT_MATRIX, w),
        table=lambda w: study.alignment(paths.ALIGNMENT_TABLE, w),
        source_tokenizer=lambda w: paths.TOKENIZER.of(tokenizer=study.own_tokenizer(w.model)),
        source_vocabulary=lambda w: paths.VOCABULARY.of(tokenizer=study.own_tokenizer(w.model)),
        target_tokenizer=paths.TOKENIZER,
        target_vocabulary=paths.VOCABULARY,
        shards=lambda w: study.train_shards(w.corpus, w.tokenizer),
    output:
        paths.FITTED,
    log:
        paths.log("fit_rows", paths.FITTED),
    benchmark:
        paths.benchmark("fit_rows", paths.FITTED)
    conda:
        "../envs/train.yaml"
    threads: 8
    resources:
        mem_mb=memory(32000, jobs.fit_mb),
        runtime=runtime(240),
        gpu=lambda w: config["alignments"][w.alignment]["fit"]["gpus"],
    params:
        settings=settings.fit,
        version=VERSIONS["fit"],
    shell:
        'python "$SCRIPTS"/initialization/fit_rows.py --model {input.model:q} --alignment {input.matrix:q} --tokens {input.table:q}'
        " --source-tokenizer {input.source_tokenizer:q} --source-vocabulary {input.source_vocabulary:q}"
        " --target-tokenizer {input.target_tokenizer:q} --target-vocabulary {input.target_vocabulary:q}"
        " --shards {input.shards:q} --settings {params.settings:q} --threads {threads} --output {output:q} 2>&1 | tee {log:q}"


rule initialize_model:
    """The model with rows E' = A @ E for the new vocabulary, before any training."""
    input:
        model=paths.MODEL,
        matrix=lambda w: study.alignment(paths.ALIGNMENT_MATRIX, w),
        tokens=study.initialization_table,
        fitted=study.fitted_rows,
        tokenizer=paths.TOKENIZER,
        info=paths.TOKENIZER_INFO,
    output:
        directory(paths.INITIALIZED),
    log:
        paths.log("initialize_model", paths.INITIALIZED),
    benchmark:
        paths.benchmark("initialize_model", paths.INITIALIZED)
    conda:
        "../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=memory(8000, jobs.initialization_mb),
        runtime=runtime(60, jobs.initialization_hours),
    params:
        settings=settings.initialization,
        rows=options("tokens", "fitted"),
        version=VERSIONS["initialization"],
    shell:
        'python "$SCRIPTS"/initialization/initialize_model.py --model {input.model:q} --alignment {input.matrix:q}'
        " {params.rows} --tokenizer {input.tokenizer:q} --tokenizer-info {input.info:q}"
        " --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}"
