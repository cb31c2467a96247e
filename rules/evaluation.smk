# REQUIRED INPUTS  any checkpoint, CORPUS_TEXT, TOKENS of the validation split, VOCABULARY, ALIGNMENT_TABLE;
#                  the user's files or FETCHED_TESTSET, FETCHED_TASKS
# OUTPUTS          DOCUMENTS           held-out text, the same for every model
#                  TESTSET             the items of one data set in the form of its kind, with TESTSET_MANIFEST
#                  TASKS               the selected tasks, checked
#                  SUITE_RESULT        measurements of a model by a suite, with SUITE_ITEMS
#                  TOKENIZER_RESULT    measurements of a tokenizer, with TOKENIZER_ITEMS
#                  ALIGNMENT_SCORES    measurements of an alignment, without a model
#                  COMPARISON          differences from the source model, tests, seeds, criteria
#
# The six model suites share one rule; each states its inputs, settings and resources.


rule sample_heldout:
    """Documents of the validation split, up to a number of bytes for each language and domain."""
    input:
        lambda w: paths.CORPUS_TEXT.of(corpus=evaluations.corpus(w.evaluation)),
    output:
        paths.DOCUMENTS,
    log:
        paths.log("sample_heldout", paths.DOCUMENTS),
    benchmark:
        paths.benchmark("sample_heldout", paths.DOCUMENTS)
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(30),
    params:
        settings=settings.block("evaluations/{evaluation}/sample"),
        version=VERSIONS["heldout"],
    shell:
        'python "$SCRIPTS"/evaluation/sample_heldout.py --validation {input:q}/validation.parquet --settings {params.settings:q}'
        " --output {output:q} 2>&1 | tee {log:q}"


rule prepare_testset:
    """Segments, questions or prompts of one data set, checked and in a common form."""
    input:
        files=lambda w: ancient(study.testset_files(w.testset)),
        texts=lambda w: ancient(list(study.testset_texts(w.testset).values())),
        fetched=lambda w: study.fetched_testset(w.testset),
    output:
        rows=paths.TESTSET,
        manifest=paths.TESTSET_MANIFEST,
    log:
        paths.log("prepare_testset", paths.TESTSET),
    benchmark:
        paths.benchmark("prepare_testset", paths.TESTSET)
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(30),
    params:
        settings=settings.testset,
        files=options("files", "fetched"),
        texts=settings.testset_texts,
        content=settings.testset_content,
        version=VERSIONS["testset"],
    shell:
        'python "$SCRIPTS"/evaluation/prepare_testset.py --name {wildcards.testset:q} {params.files} {params.texts}'
        " --settings {params.settings:q} --items {output.rows:q} --manifest {output.manifest:q} 2>&1 | tee {log:q}"


rule resolve_tasks:
    """The tasks of an evaluation in lm-evaluation-harness: names checked and groups expanded before anything is computed."""
    output:
        paths.TASKS,
    log:
        paths.log("resolve_tasks", paths.TASKS),
    priority: 100
    localrule: True
    conda:
        "../envs/evaluate.yaml"
    params:
        settings=settings.tasks,
        content=settings.tasks_content,
        version=VERSIONS["tasks"],
    shell:
        'python "$SCRIPTS"/evaluation/resolve_tasks.py --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}'


rule evaluate_perplexity:
    """Bits per byte and perplexity of one checkpoint on the held-out documents."""
    input:
        model=paths.CHECKPOINT,
        tokenizer=lambda w: evaluations.tokenizer(w.checkpoint),
        documents=paths.DOCUMENTS,
        reference_tokenizer=lambda w: evaluations.reference_tokenizer(w.evaluation, w.checkpoint),
    output:
        result=paths.SUITE_RESULT.where(suite="perplexity"),
        rows=paths.SUITE_ITEMS.where(suite="perplexity"),
    log:
        paths.log("evaluate_perplexity", paths.SUITE_RESULT.where(suite="perplexity")),
    benchmark:
        paths.benchmark("evaluate_perplexity", paths.SUITE_RESULT.where(suite="perplexity"))
    conda:
        "../envs/evaluate.yaml"
    threads: 8
    resources:
        mem_mb=memory(32000, jobs.scoring_mb),
        runtime=runtime(240, jobs.perplexity_hours),
        gpu=lambda w: config["evaluations"][w.evaluation]["gpus"],
    params:
        command="evaluate_perplexity",
        data=options("documents", "reference_tokenizer"),
        settings=settings.suite("perplexity"),
        labels=settings.checkpoint_labels,
        version=VERSIONS["perplexity"],
    shell:
        'python "$SCRIPTS"/evaluation/{params.command}.py --model {input.model:q} --tokenizer {input.tokenizer:q}'
        " {params.data} --settings {params.settings:q} --labels {params.labels:q}"
        " --threads {threads} --output {output.result:q} 2>&1 | tee {log:q}"


use rule evaluate_perplexity as answer_choices with:
    """Answers to multiple-choice questions by log-likelihood, raw and normalized by bytes."""
    input:
        model=paths.CHECKPOINT,
        tokenizer=lambda w: evaluations.tokenizer(w.checkpoint),
        testsets=lambda w: evaluations.testset_items(w.evaluation, "choices"),
    output:
        result=paths.SUITE_RESULT.where(suite="choices"),
        rows=paths.SUITE_ITEMS.where(suite="choices"),
    log:
        paths.log("answer_choices", paths.SUITE_RESULT.where(suite="choices")),
    benchmark:
        paths.benchmark("answer_choices", paths.SUITE_RESULT.where(suite="choices"))
    resources:
        runtime=runtime(240, jobs.choices_hours),
    params:
        command="answer_choices",
        data=options("testsets"),
        settings=settings.suite("choices"),
        version=VERSIONS["choices"],


use rule evaluate_perplexity as answer_tasks with:
    """Tasks of lm-evaluation-harness, offline."""
    input:
        model=paths.CHECKPOINT,
        tokenizer=lambda w: evaluations.tokenizer(w.checkpoint),
        tasks=paths.TASKS,
        fetched=lambda w: evaluations.fetched_tasks(w.evaluation),
    output:
        result=paths.SUITE_RESULT.where(suite="tasks"),
        rows=paths.SUITE_ITEMS.where(suite="tasks"),
    log:
        paths.log("answer_tasks", paths.SUITE_RESULT.where(suite="tasks")),
    benchmark:
        paths.benchmark("answer_tasks", paths.SUITE_RESULT.where(suite="tasks"))
    resources:
        runtime=runtime(240),
    params:
        command="answer_tasks",
        data=options("tasks", "fetched"),
        settings=settings.suite("tasks"),
        content=settings.tasks_content,
        version=VERSIONS["tasks"],


use rule evaluate_perplexity as translate_segments with:
    """Translations of parallel test sets by prompts, with BLEU, chrF++ and TER."""
    input:
        model=paths.CHECKPOINT,
        tokenizer=lambda w: evaluations.tokenizer(w.checkpoint),
        testsets=lambda w: evaluations.testset_items(w.evaluation, "translation"),
    output:
        result=paths.SUITE_RESULT.where(suite="translation"),
        rows=paths.SUITE_ITEMS.where(suite="translation"),
    log:
        paths.log("translate_segments", paths.SUITE_RESULT.where(suite="translation")),
    benchmark:
        paths.benchmark("translate_segments", paths.SUITE_RESULT.where(suite="translation"))
    resources:
        runtime=runtime(240),
    params:
        command="translate_segments",
        data=options("testsets"),
        settings=settings.suite("translation"),
        version=VERSIONS["translation"],


use rule evaluate_perplexity as generate_text with:
    """Continuations of prompts: diversity, repetition, length."""
    input:
        model=paths.CHECKPOINT,
        tokenizer=lambda w: evaluations.tokenizer(w.checkpoint),
        prompts=lambda w: evaluations.prompts(w.evaluation),
    output:
        result=paths.SUITE_RESULT.where(suite="generation"),
        rows=paths.SUITE_ITEMS.where(suite="generation"),
    log:
        paths.log("generate_text", paths.SUITE_RESULT.where(suite="generation")),
    benchmark:
        paths.benchmark("generate_text", paths.SUITE_RESULT.where(suite="generation"))
    resources:
        runtime=runtime(240),
    params:
        command="generate_text",
        data=options("prompts"),
        settings=settings.suite("generation"),
        version=VERSIONS["generation"],


use rule evaluate_perplexity as measure_efficiency with:
    """Speed, latency and memory of reading and writing text."""
    input:
        model=paths.CHECKPOINT,
        tokenizer=lambda w: evaluations.tokenizer(w.checkpoint),
        documents=paths.DOCUMENTS,
    output:
        result=paths.SUITE_RESULT.where(suite="efficiency"),
        rows=paths.SUITE_ITEMS.where(suite="efficiency"),
    log:
        paths.log("measure_efficiency", paths.SUITE_RESULT.where(suite="efficiency")),
    benchmark:
        paths.benchmark("measure_efficiency", paths.SUITE_RESULT.where(suite="efficiency"))
    resources:
        runtime=runtime(240),
    params:
        command="measure_efficiency",
        data=options("documents"),
        settings=settings.suite("efficiency"),
        version=VERSIONS["efficiency"],


rule evaluate_tokenizer:
    """Fertility and bytes per token of one tokenizer on the whole validation split, by language."""
    input:
        shard=lambda w: paths.TOKENS.of(
            w, corpus=evaluations.corpus(w.evaluation), shard="validation"
        ),
        vocabulary=paths.VOCABULARY,
        tokenizer=paths.TOKENIZER,
        testset=lambda w: evaluations.testset_items(w.evaluation, "tokenizers"),
    output:
        result=paths.TOKENIZER_RESULT,
        rows=paths.TOKENIZER_ITEMS,
    log:
        paths.log("evaluate_tokenizer", paths.TOKENIZER_RESULT),
    benchmark:
        paths.benchmark("evaluate_tokenizer", paths.TOKENIZER_RESULT)
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(60),
    params:
        settings=settings.tokenizer_suite,
        testset=options("testset"),
        labels=settings.tokenizer_labels,
        version=VERSIONS["tokenizer_metrics"],
    shell:
        'python "$SCRIPTS"/evaluation/evaluate_tokenizer.py --shard {input.shard:q} --vocabulary {input.vocabulary:q}'
        " --tokenizer {input.tokenizer:q} {params.testset} --settings {params.settings:q} --labels {params.labels:q}"
        " --output {output.result:q} 2>&1 | tee {log:q}"


rule evaluate_alignment:
    """BLEU, similarity of rewritten text and coverage of one alignment on the held-out documents, without a model."""
    input:
        table=paths.ALIGNMENT_TABLE,
        source_tokenizer=paths.TOKENIZER.where(tokenizer="{source_tokenizer}"),
        source_vocabulary=paths.VOCABULARY.where(tokenizer="{source_tokenizer}"),
        target_tokenizer=paths.TOKENIZER.where(tokenizer="{target_tokenizer}"),
        target_vocabulary=paths.VOCABULARY.where(tokenizer="{target_tokenizer}"),
        documents=paths.DOCUMENTS,
        fetched=lambda w: study.fetched("embedder", w.evaluation),
    output:
        paths.ALIGNMENT_SCORES,
    log:
        paths.log("evaluate_alignment", paths.ALIGNMENT_SCORES),
    benchmark:
        paths.benchmark("evaluate_alignment", paths.ALIGNMENT_SCORES)
    conda:
        "../envs/evaluate.yaml"
    threads: 2
    resources:
        mem_mb=memory(8000),
        runtime=runtime(120),
        gpu=lambda w: (
            config["evaluations"][w.evaluation]["gpus"] if study.embedder(w.evaluation) else 0
        ),
    params:
        settings=settings.alignment_scores,
        fetched=options("fetched"),
        content=settings.embedder_content,
        labels=labels(
            evaluation="{evaluation}",
            corpus="{corpus}",
            source_tokenizer="{source_tokenizer}",
            tokenizer="{target_tokenizer}",
            alignment="{alignment}",
        ),
        version=VERSIONS["alignment_scores"],
    shell:
        'python "$SCRIPTS"/evaluation/evaluate_alignment.py --tokens {input.table:q}'
        " --source-tokenizer {input.source_tokenizer:q} --source-vocabulary {input.source_vocabulary:q}"
        " --target-tokenizer {input.target_tokenizer:q} --target-vocabulary {input.target_vocabulary:q}"
        " --documents {input.documents:q} --settings {params.settings:q} {params.fetched} --labels {params.labels:q}"
        " --threads {threads} --output {output:q} 2>&1 | tee {log:q}"


rule compare_models:
    """All results of an evaluation beside those of the source model: differences with intervals, tests, criteria."""
    input:
        results=lambda w: evaluations.compared_results(w.evaluation),
        rows=lambda w: evaluations.compared_items(w.evaluation),
        references=lambda w: ancient(settings.references(w)),
    output:
        paths.COMPARISON,
    log:
        paths.log("compare_models", paths.COMPARISON),
    benchmark:
        paths.benchmark("compare_models", paths.COMPARISON)
    conda:
        "../envs/evaluate.yaml"
    threads: 2
    resources:
        mem_mb=memory(8000),
        runtime=runtime(60),
    params:
        plan=settings.comparison_plan,
        settings=settings.comparison,
        content=settings.comparison_content,
        version=VERSIONS["comparison"],
    # The plan grows with the study, and an argument is limited to 128 kB.
    shell:
        'python "$SCRIPTS"/evaluation/compare_models.py --evaluation {wildcards.evaluation} --plan {params.plan:q}'
        " --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}"
