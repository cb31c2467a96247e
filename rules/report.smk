# REQUIRED INPUTS  results/evaluations/, results/alignments/*/report.json, results/adapted/*/{stage}
# OUTPUTS          results/tables/*.{csv,md,tex,html}, results/summary.{md,html}, results/figures/*; `snakemake --report
#                  results/report.html` shows them


localrules:
    make_tables,
    write_summary,
    draw_figures,


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
        'python "$SCRIPTS"/make_tables.py --perplexity {input.perplexity:q} --tokenizers {input.tokenizers:q}'
        " --alignments {input.alignments:q} --alignment-scores {input.alignment_scores:q}"
        ' --stages {input.stages:q} --comparisons {input.comparisons:q} --captions "$SCRIPTS"/../report/tables'
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
        'python "$SCRIPTS"/write_summary.py --comparisons {input:q} --markdown {output.markdown:q} --page {output.page:q}'
        " 2>&1 | tee {log:q}"


rule draw_figures:
    """The figures, from the tables alone."""
    input:
        tokenizers=TABLES["tokenizers"],
        bits_per_byte=TABLES["bits_per_byte"],
        training=TABLES["training"],
        alignments=TABLES["alignments"],
    output:
        compression=shown(
            FIGURES["compression_svg"], "compression", "Figures", "Compression by language"
        ),
        bits_per_byte=shown(
            FIGURES["bits_per_byte_svg"],
            "bits_per_byte",
            "Figures",
            "Bits per byte along the stages",
        ),
        loss=shown(FIGURES["loss_svg"], "loss", "Figures", "Training loss"),
        progress=shown(
            FIGURES["progress_svg"],
            "progress",
            "Figures",
            "Training: held-out text, learning rate, speed, memory",
        ),
        alignment=shown(FIGURES["alignment_svg"], "alignment", "Figures", "How tokens were aligned"),
        compression_png=FIGURES["compression_png"],
        bits_per_byte_png=FIGURES["bits_per_byte_png"],
        loss_png=FIGURES["loss_png"],
        progress_png=FIGURES["progress_png"],
        alignment_png=FIGURES["alignment_png"],
    log:
        "logs/draw_figures.log",
    conda:
        "../envs/report.yaml"
    params:
        version=VERSIONS["figures"],
    shell:
        'python "$SCRIPTS"/draw_figures.py --tokenizers-csv {input.tokenizers:q} --bits-per-byte-csv {input.bits_per_byte:q}'
        " --training-csv {input.training:q} --alignments-csv {input.alignments:q}"
        " --compression-svg {output.compression:q} --compression-png {output.compression_png:q}"
        " --bits-per-byte-svg {output.bits_per_byte:q} --bits-per-byte-png {output.bits_per_byte_png:q}"
        " --loss-svg {output.loss:q} --loss-png {output.loss_png:q}"
        " --progress-svg {output.progress:q} --progress-png {output.progress_png:q}"
        " --alignment-svg {output.alignment:q} --alignment-png {output.alignment_png:q} 2>&1 | tee {log:q}"
