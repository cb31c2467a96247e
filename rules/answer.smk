# REQUIRED INPUTS  any checkpoint, results/testsets/{testset}/items.parquet, results/fetched/tasks/{evaluation}
# OUTPUTS          results/evaluations/{evaluation}/tasks.json                          the tasks that are meant, checked
#                  results/evaluations/{evaluation}/{choices,tasks}/{checkpoint}.json and .parquet


localrules:
    resolve_tasks,


rule answer_choices:
    """Answers to multiple-choice questions by log-likelihood, raw and normalized by bytes."""
    input:
        model="results/{checkpoint}",
        tokenizer=checkpoint_tokenizer,
        testsets=choices_testsets,
    output:
        result="results/evaluations/{evaluation}/choices/{checkpoint}.json",
        rows="results/evaluations/{evaluation}/choices/{checkpoint}.parquet",
    log:
        "logs/answer_choices/{evaluation}/{checkpoint}.log",
    benchmark:
        "logs/benchmarks/answer_choices/{evaluation}/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=CHECKPOINT,
    conda:
        "../envs/evaluate.yaml"
    threads: threads_of("answer_choices", 8)
    resources:
        mem_mb=memory_of("answer_choices", 32000, scoring_estimate),
        runtime=runtime_of("answer_choices", 240, choices_time),
        gpu=evaluation_gpus,
    params:
        settings=suite_settings("choices"),
        labels=checkpoint_labels,
        version=VERSIONS["choices"],
    shell:
        'python "$SCRIPTS"/evaluation/answer_choices.py --model {input.model:q} --tokenizer {input.tokenizer:q}'
        " --testsets {input.testsets:q} --settings {params.settings:q} --labels {params.labels:q}"
        " --threads {threads} --output {output.result:q} 2>&1 | tee {log:q}"


rule resolve_tasks:
    """The tasks of an evaluation as lm-evaluation-harness knows them: names checked, groups expanded; before anything is computed."""
    output:
        "results/evaluations/{evaluation}/tasks.json",
    log:
        "logs/resolve_tasks/{evaluation}.log",
    priority: 100
    conda:
        "../envs/evaluate.yaml"
    params:
        settings=tasks_settings,
        content=tasks_content,
        version=VERSIONS["tasks"],
    shell:
        'python "$SCRIPTS"/evaluation/resolve_tasks.py --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}'


rule answer_tasks:
    """Tasks of lm-evaluation-harness, offline."""
    input:
        model="results/{checkpoint}",
        tokenizer=checkpoint_tokenizer,
        tasks="results/evaluations/{evaluation}/tasks.json",
        fetched=tasks_data,
    output:
        result="results/evaluations/{evaluation}/tasks/{checkpoint}.json",
        rows="results/evaluations/{evaluation}/tasks/{checkpoint}.parquet",
    log:
        "logs/answer_tasks/{evaluation}/{checkpoint}.log",
    benchmark:
        "logs/benchmarks/answer_tasks/{evaluation}/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=CHECKPOINT,
    conda:
        "../envs/evaluate.yaml"
    threads: threads_of("answer_tasks", 8)
    resources:
        mem_mb=memory_of("answer_tasks", 32000, scoring_estimate),
        runtime=runtime_of("answer_tasks", 240),
        gpu=evaluation_gpus,
    params:
        settings=suite_settings("tasks"),
        fetched=option_of("--fetched", "fetched"),
        content=tasks_content,
        labels=checkpoint_labels,
        version=VERSIONS["tasks"],
    shell:
        'python "$SCRIPTS"/evaluation/answer_tasks.py --model {input.model:q} --tokenizer {input.tokenizer:q}'
        " --tasks {input.tasks:q} {params.fetched} --settings {params.settings:q} --labels {params.labels:q}"
        " --threads {threads} --output {output.result:q} 2>&1 | tee {log:q}"
