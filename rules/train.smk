# REQUIRED INPUTS  results/initialised/... or the stage before, results/packed/{corpus}/{tokenizer}/{block}/blocks.arrow
# OUTPUTS          results/adapted/{model}--{tokenizer}/{corpus}/{alignment}/{recipe}/s{seed}/{stage}
#
# The state of a running stage is kept under work/, which Snakemake does not delete when a job ends early. How often it is saved
# and logged stands under resources, because these do not make a finished stage run again. The traps let the trainer save its
# state and say so when a signal goes to the whole process group (Ctrl-C, scancel): bash waits for it, and tee stays.


rule train_stage:
    """One stage of a recipe, continued where an interruption left it."""
    input:
        model=stage_start,
        blocks=stage_blocks,
        model_info="results/models/{model}/info.json",
        tokenizer_info="results/tokenizers/{tokenizer}/info.json",
        manifest="results/corpora/{corpus}/manifest.json",
    output:
        directory(f"results/adapted/{ADAPTED}/{{stage}}"),
    log:
        f"logs/train_stage/{ADAPTED}/{{stage}}.log",
    benchmark:
        f"logs/benchmarks/train_stage/{ADAPTED}/{{stage}}.tsv"
    conda:
        "../envs/train.yaml"
    threads: 8
    resources:
        mem_mb=64000,
        runtime=1440,
        gpu=stage_gpus,
        save_steps=stage_save_steps,
        log_steps=stage_log_steps,
    params:
        settings=stage_settings,
        used=used_sequences,
        labels=stage_labels,
        state=f"work/adapted/{ADAPTED}/{{stage}}",
        version=VERSIONS["training"],
    shell:
        'trap : TERM INT; python "$SCRIPTS"/train_stage.py --model {input.model:q} --blocks {input.blocks:q} --settings {params.settings:q}'
        " --seed {wildcards.seed} --used-sequences {params.used} --minutes {resources.runtime}"
        " --save-steps {resources.save_steps} --log-steps {resources.log_steps} --labels {params.labels:q}"
        " --model-info {input.model_info:q} --tokenizer-info {input.tokenizer_info:q} --corpus-manifest {input.manifest:q}"
        " --state {params.state:q} --threads {threads} --output {output:q} 2>&1 | (trap '' TERM INT; exec tee {log:q})"
