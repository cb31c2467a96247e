# REQUIRED INPUTS  SUITE_RESULT, TOKENIZER_RESULT, ALIGNMENT_SCORES, ALIGNMENT_REPORT, COMPARISON, ADAPTED
# OUTPUTS          TABLE      each result as CSV, Markdown, LaTeX and a searchable page
#                  SUMMARY    five lines for each adapted model
#                  FIGURE     SVG, PNG and PDF, from a table alone; `snakemake --report results/report.html` shows everything

from tokalign.report.figures.sources import SOURCES
from tokalign.report.tables.names import TABLES


rule make_tables:
    """All results as tables: CSV, Markdown, LaTeX, and searchable pages."""
    input:
        unpack(lambda w: evaluations.tabled()),
    output:
        [
            paths.TABLE.of(table=table, format=format)
            for table in TABLES
            for format in ("csv", "md", "tex")
        ],
        [
            report(
                paths.TABLE.of(table=table, format="html"),
                caption=f"../workflow/report/tables/{table}.rst",
                category="Tables",
                labels={"what": title},
            )
            for table, title in TABLES.items()
        ],
    log:
        "logs/make_tables.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        results=settings.tabled,
        benchmarks=paths.BENCHMARKS,
        folder=lambda w, output: os.path.dirname(output[0]),
        version=VERSIONS["tables"],
    # The list of results grows with the study, and an argument is limited to 128 kB.
    shell:
        'python "$SCRIPTS"/report/make_tables.py --results {params.results:q} --benchmarks {params.benchmarks:q} --folder {params.folder:q}'
        ' --captions "$SCRIPTS"/../../report/tables 2>&1 | tee {log:q}'


rule write_summary:
    """Five lines for each adapted model: tokens saved, quality, speed, what failed, what to do next."""
    input:
        lambda w: evaluations.comparisons(),
    output:
        markdown=paths.SUMMARY.of(format="md"),
        page=report(
            paths.SUMMARY.of(format="html"),
            caption="../workflow/report/summary.rst",
            category="Summary",
            labels={"what": "Five lines for each adapted model"},
        ),
    log:
        "logs/write_summary.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        version=VERSIONS["tables"],
    shell:
        'python "$SCRIPTS"/report/write_summary.py --comparisons {input:q} --markdown {output.markdown:q}'
        " --page {output.page:q} 2>&1 | tee {log:q}"


rule draw_figure:
    """One figure, from its table alone."""
    input:
        lambda w: paths.TABLE.of(table=SOURCES[w.figure].table, format="csv"),
    output:
        report(
            paths.FIGURE.where(format="svg"),
            caption="../workflow/report/figure.rst",
            category="Figures",
            labels=lambda w: {"what": SOURCES[w.figure].title},
        ),
        paths.FIGURE.where(format="png"),
        paths.FIGURE.where(format="pdf"),
    log:
        paths.log("draw_figure", paths.FIGURE.where(format="svg")),
    wildcard_constraints:
        figure="|".join(SOURCES),
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        version=VERSIONS["figures"],
    shell:
        'python "$SCRIPTS"/report/draw_figure.py --figure {wildcards.figure} --table {input:q} --output {output:q}'
        " 2>&1 | tee {log:q}"
