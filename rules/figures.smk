# REQUIRED INPUTS  results/tables/{table}.csv; tokalign/figure_sources.py says which table each figure is drawn from
# OUTPUTS          results/figures/{figure}.svg, .png and .pdf, for the figures whose suites the evaluations have


localrules:
    draw_figure,


rule draw_figure:
    """One figure, from its table alone."""
    input:
        figure_table,
    output:
        report(
            "results/figures/{figure}.svg",
            caption="../workflow/report/figure.rst",
            category="Figures",
            labels=figure_labels,
        ),
        "results/figures/{figure}.png",
        "results/figures/{figure}.pdf",
    log:
        "logs/draw_figure/{figure}.log",
    wildcard_constraints:
        figure=names_pattern(SOURCES),
    conda:
        "../envs/report.yaml"
    params:
        version=VERSIONS["figures"],
    shell:
        'python "$SCRIPTS"/report/draw_figure.py --figure {wildcards.figure} --table {input:q} --output {output:q} 2>&1 | tee {log:q}'
