# REQUIRED INPUTS  results/models/{model}/hf, results/alignments/.../alignment.safetensors, results/tokenizers/{tokenizer}/
#                  .../tokens.parquet beside the matrix, where rows are treated by how they were found
#                  results/tokens/{corpus}/{tokenizer}/train-*.arrow, where rows are fitted to the model
# OUTPUTS          results/fitted/{model}--{tokenizer}/{corpus}/{alignment}/rows.safetensors
#                  results/initialized/{model}--{tokenizer}/{corpus}/{alignment}     a checkpoint with the new tokenizer


rule fit_rows:
    """Rows fitted to the model in closed form: merged rows for tokens it never had, and a calibrated head."""
    input:
        model="results/models/{model}/hf",
        matrix=initialization_matrix,
        tokens=fit_tokens,
        source=fit_source("hf"),
        source_vocabulary=fit_source("vocabulary.parquet"),
        target="results/tokenizers/{tokenizer}/hf",
        target_vocabulary="results/tokenizers/{tokenizer}/vocabulary.parquet",
        shards=fit_shards,
    output:
        "results/fitted/{model}--{tokenizer}/{corpus}/{alignment}/rows.safetensors",
    log:
        "logs/fit_rows/{model}--{tokenizer}/{corpus}/{alignment}.log",
    benchmark:
        "logs/benchmarks/fit_rows/{model}--{tokenizer}/{corpus}/{alignment}.tsv"
    conda:
        "../envs/train.yaml"
    threads: threads_of("fit_rows", 8)
    resources:
        mem_mb=memory_of("fit_rows", 32000, fit_estimate),
        runtime=runtime_of("fit_rows", 240),
        gpu=fit_gpus,
    params:
        settings=fit_settings,
        version=VERSIONS["fit"],
    shell:
        'python "$SCRIPTS"/initialization/fit_rows.py --model {input.model:q} --alignment {input.matrix:q} --tokens {input.tokens:q}'
        " --source-tokenizer {input.source:q} --source-vocabulary {input.source_vocabulary:q}"
        " --target-tokenizer {input.target:q} --target-vocabulary {input.target_vocabulary:q} --shards {input.shards:q}"
        " --settings {params.settings:q} --threads {threads} --output {output:q} 2>&1 | tee {log:q}"


rule initialize_model:
    """The model with rows E' = A @ E for the new vocabulary, before any training."""
    input:
        model="results/models/{model}/hf",
        matrix=initialization_matrix,
        tokens=initialization_tokens,
        fitted=fitted_rows,
        tokenizer="results/tokenizers/{tokenizer}/hf",
        info="results/tokenizers/{tokenizer}/info.json",
    output:
        directory("results/initialized/{model}--{tokenizer}/{corpus}/{alignment}"),
    log:
        "logs/initialize_model/{model}--{tokenizer}/{corpus}/{alignment}.log",
    benchmark:
        "logs/benchmarks/initialize_model/{model}--{tokenizer}/{corpus}/{alignment}.tsv"
    conda:
        "../envs/train.yaml"
    threads: threads_of("initialize_model", 2)
    resources:
        mem_mb=memory_of("initialize_model", 8000, initialization_estimate),
        runtime=runtime_of("initialize_model", 60, initialization_time),
    params:
        settings=initialization_settings,
        tokens=option_of("--tokens", "tokens"),
        fitted=option_of("--fitted", "fitted"),
        version=VERSIONS["initialization"],
    shell:
        'python "$SCRIPTS"/initialization/initialize_model.py --model {input.model:q} --alignment {input.matrix:q} {params.tokens} {params.fitted}'
        " --tokenizer {input.tokenizer:q} --tokenizer-info {input.info:q} --settings {params.settings:q}"
        " --output {output:q} 2>&1 | tee {log:q}"
