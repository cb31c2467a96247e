# REQUIRED INPUTS  results/evaluations/, results/alignments/*/report.json, results/adapted/*/{stage}
# OUTPUTS          results/tables/*.{csv,md,tex,html}, results/summary.{md,html}; `snakemake --report
#                  results/report.html` shows them


localrules:
    make_tables,
    write_summary,


rule make_tables:
    """All results as tables: CSV, Markdown, LaTeX, and pages that can be searched."""
    input:
        perplexity=suite_results("perplexity"),
        tokenizers=tokenizer_results,
        alignments=alignment_results,
        alignment_scores=alignment_score_results,
        stages=stage_results,
        comparisons=comparisons,
    output:
        TABLES.values(),
        [f"results/tables/{name}.{kind}" for name in TABLES for kind in ("md", "tex")],
        [
            report(
                f"results/tables/{name}.html",
                caption=f"../workflow/report/tables/{name}.rst",
                category="Tables",
                labels={"what": title},
            )
            for name, title in TABLE_TITLES.items()
        ],
    log:
        "logs/make_tables.log",
    conda:
        "../envs/report.yaml"
    params:
        version=VERSIONS["tables"],
    shell:
        'python "$SCRIPTS"/report/make_tables.py --perplexity {input.perplexity:q} --tokenizers {input.tokenizers:q}'
        " --alignments {input.alignments:q} --alignment-scores {input.alignment_scores:q}"
        ' --stages {input.stages:q} --comparisons {input.comparisons:q} --captions "$SCRIPTS"/../../report/tables'
        " --folder results/tables 2>&1 | tee {log:q}"


rule write_summary:
    """Five lines for each adapted model: tokens saved, quality, speed, what failed, what to do next."""
    input:
        comparisons,
    output:
        markdown="results/summary.md",
        page=report(
            "results/summary.html",
            caption="../workflow/report/summary.rst",
            category="Summary",
            labels={"what": "Five lines for each adapted model"},
        ),
    log:
        "logs/write_summary.log",
    conda:
        "../envs/report.yaml"
    params:
        version=VERSIONS["tables"],
    shell:
        'python "$SCRIPTS"/report/write_summary.py --comparisons {input:q} --markdown {output.markdown:q} --page {output.page:q}'
        " 2>&1 | tee {log:q}"
