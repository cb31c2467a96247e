# REQUIRED INPUTS  results/initialized/... or the stage before, results/packed/{corpus}/{tokenizer}/{block}/,
#                  results/tokens/{corpus}/{tokenizer}/validation.arrow; of a stage with train: new_rows the alignment's table
# OUTPUTS          results/adapted/{model}--{tokenizer}/{corpus}/{alignment}/{recipe}/s{seed}/{stage}
#
# The state of a running stage is kept under work/, which Snakemake does not delete when a job ends early. How a stage runs (as
# against what it computes) stands under resources, because these do not make a finished stage run again. On several nodes the job
# is one that starts its processes itself (mpi, in the words of the Slurm plugin). The traps let the trainer save its
# state and say so when a signal goes to the whole process group (Ctrl-C, scancel): bash waits for it, and tee stays.


rule train_stage:
    """One stage of a recipe, continued where an interruption left it."""
    input:
        model=stage_start,
        blocks=stage_blocks,
        packed=stage_manifest,
        mixed=stage_mixed,
        heldout="results/tokens/{corpus}/{tokenizer}/validation.arrow",
        alignment=stage_alignment,
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
    threads: train_stage_threads
    resources:
        mem_mb=train_stage_memory,
        runtime=train_stage_runtime,
        gpu=stage_gpus,
        execution=stage_execution,
        processes=stage_processes,
        training_nodes=stage_nodes,
        nodes=several_nodes(stage_nodes),
        tasks=several_nodes(tasks_one_a_node),
        tasks_per_node=several_nodes(tasks_of_a_node),
        tasks_per_gpu=several_nodes(0),
        cpus_per_task=several_nodes(threads_of_process),
        mpi=several_nodes("srun"),
        slurm_extra=several_nodes(gpus_of_a_node),
    params:
        settings=stage_settings,
        used=used_sequences,
        labels=stage_labels,
        mixed=option_of("--mixed-blocks", "mixed"),
        alignment=option_of("--alignment-tokens", "alignment"),
        state=f"work/adapted/{ADAPTED}/{{stage}}",
        version=VERSIONS["training"],
    shell:
        'trap : TERM INT; python "$SCRIPTS"/training/launch_training.py --nodes {resources.training_nodes}'
        " --processes {resources.processes} --threads {threads} --"
        " --model {input.model:q} --blocks {input.blocks:q} {params.mixed} --heldout {input.heldout:q} {params.alignment}"
        " --settings {params.settings:q} --execution {resources.execution:q}"
        " --seed {wildcards.seed} --used-sequences {params.used} --minutes {resources.runtime} --labels {params.labels:q}"
        " --model-info {input.model_info:q} --tokenizer-info {input.tokenizer_info:q} --corpus-manifest {input.manifest:q}"
        " --state {params.state:q} --output {output:q} 2>&1 | (trap '' TERM INT; exec tee {log:q})"
