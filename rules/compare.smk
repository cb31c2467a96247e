# REQUIRED INPUTS  results/evaluations/{evaluation}/{suite}/... of all suites that the evaluation has
# OUTPUTS          results/evaluations/{evaluation}/comparison.json    differences from the source model, tests, seeds, criteria


rule compare_models:
    """All results of an evaluation beside those of the source model: differences with intervals, tests, criteria."""
    input:
        results=compared_results,
        rows=compared_items,
        references=comparison_references,
    output:
        "results/evaluations/{evaluation}/comparison.json",
    log:
        "logs/compare_models/{evaluation}.log",
    benchmark:
        "logs/benchmarks/compare_models/{evaluation}.tsv"
    conda:
        "../envs/evaluate.yaml"
    threads: threads_of("compare_models", 2)
    resources:
        mem_mb=memory_of("compare_models", 8000),
        runtime=runtime_of("compare_models", 60),
    params:
        plan=comparison_plan,
        settings=comparison_settings,
        content=comparison_content,
        version=VERSIONS["comparison"],
    shell:
        'python "$SCRIPTS"/evaluation/compare_models.py --evaluation {wildcards.evaluation} --plan {params.plan:q}'
        " --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}"
