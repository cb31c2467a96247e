# REQUIRED INPUTS  results/models/{model}/hf, results/alignments/.../alignment.safetensors, results/tokenizers/{tokenizer}/
# OUTPUTS          results/initialised/{model}--{tokenizer}/{corpus}/{alignment}     a checkpoint with the new tokenizer


rule initialize_model:
    """The model with rows E' = A @ E for the new vocabulary, before any training."""
    input:
        model="results/models/{model}/hf",
        matrix=initialisation_matrix,
        tokenizer="results/tokenizers/{tokenizer}/hf",
        info="results/tokenizers/{tokenizer}/info.json",
    output:
        directory("results/initialised/{model}--{tokenizer}/{corpus}/{alignment}"),
    log:
        "logs/initialize_model/{model}--{tokenizer}/{corpus}/{alignment}.log",
    benchmark:
        "logs/benchmarks/initialize_model/{model}--{tokenizer}/{corpus}/{alignment}.tsv"
    conda:
        "../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=32000,
        runtime=60,
    params:
        settings=model_trust,
        version=VERSIONS["initialisation"],
    shell:
        'python "$SCRIPTS"/initialize_model.py --model {input.model:q} --alignment {input.matrix:q} --tokenizer {input.tokenizer:q}'
        " --tokenizer-info {input.info:q} --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}"
