# REQUIRED INPUTS  INITIALIZED or the stage before, BLOCKS, TOKENS of the validation split; ALIGNMENT_TABLE for a stage with
#                  train: new_rows
# OUTPUTS          ADAPTED    the checkpoint of a stage
#
# The state of a running stage is under work/, which Snakemake does not delete when a job ends early. How a stage runs (as opposed
# to what it computes) is given as resources, because these do not make a finished stage run again. On several nodes the job
# starts its processes itself (mpi, in the words of the Slurm plugin). The traps let the trainer save its state and report it
# when a signal goes to the whole process group (Ctrl-C, scancel): bash waits for it, and tee keeps running.


rule train_stage:
    """One stage of a recipe, continued where an interruption left it."""
    input:
        model=study.stage_start,
        blocks=lambda w: study.blocks(paths.BLOCKS, w.corpus, w),
        packed=lambda w: study.blocks(paths.BLOCKS_MANIFEST, w.corpus, w),
        mixed_blocks=study.mixed_blocks,
        heldout=paths.TOKENS.where(shard="validation"),
        alignment_tokens=study.new_row_table,
        model_info=paths.MODEL_INFO,
        tokenizer_info=paths.TOKENIZER_INFO,
        manifest=paths.CORPUS_MANIFEST,
    output:
        directory(paths.ADAPTED),
    log:
        paths.log("train_stage", paths.ADAPTED),
    benchmark:
        paths.benchmark("train_stage", paths.ADAPTED)
    conda:
        "../envs/train.yaml"
    threads: jobs.stage_threads
    resources:
        mem_mb=memory(64000, jobs.stage_mb),
        runtime=jobs.stage_minutes,
        gpu=jobs.stage_gpus,
        execution=settings.execution,
        processes=jobs.stage_processes,
        training_nodes=jobs.stage_nodes,
        nodes=jobs.on_several_nodes(lambda w, threads: jobs.stage_nodes(w)),
        tasks=jobs.on_several_nodes(jobs.tasks),
        tasks_per_node=jobs.on_several_nodes(jobs.tasks_per_node),
        tasks_per_gpu=jobs.on_several_nodes(0),
        cpus_per_task=jobs.on_several_nodes(jobs.threads_of_a_task),
        mpi=jobs.on_several_nodes("srun"),
        slurm_extra=jobs.on_several_nodes(jobs.gpus_per_node),
    params:
        settings=settings.stage,
        used=lambda w: "{} {}".format(*study.used_sequences(w)),
        labels=settings.stage_labels,
        options=options("mixed_blocks", "alignment_tokens"),
        state=paths.STATE,
        version=VERSIONS["training"],
    shell:
        'trap : TERM INT; python "$SCRIPTS"/training/launch_training.py --nodes {resources.training_nodes}'
        " --processes {resources.processes} --threads {threads} --"
        " --model {input.model:q} --blocks {input.blocks:q} --heldout {input.heldout:q} {params.options}"
        " --settings {params.settings:q} --execution {resources.execution:q}"
        " --seed {wildcards.seed} --used-sequences {params.used} --minutes {resources.runtime} --labels {params.labels:q}"
        " --model-info {input.model_info:q} --tokenizer-info {input.tokenizer_info:q} --corpus-manifest {input.manifest:q}"
        " --state {params.state:q} --output {output:q} 2>&1 | (trap '' TERM INT; exec tee {log:q})"
