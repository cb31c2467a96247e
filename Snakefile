# tokalign-workflow: give a causal language model a new tokenizer. See README.md; docs/architecture.md shows the DAG.

from snakemake.utils import min_version

min_version("9.27")


if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/fetch.smk"
include: "rules/text.smk"
include: "rules/tokenizers.smk"
include: "rules/models.smk"
include: "rules/tokens.smk"
include: "rules/vectors.smk"
include: "rules/alignment.smk"
include: "rules/initialization.smk"
include: "rules/training.smk"
include: "rules/evaluation.smk"
include: "rules/report.smk"
include: "rules/preflight.smk"


rule all:
    """Everything that the experiments ask for: adapted models, evaluations, tables and figures."""
    default_target: True
    input:
        study.adapted_models(),
        [paths.TABLE.of(table=table, format="csv") for table in TABLES],
        paths.SUMMARY.of(format="md"),
        [
            paths.FIGURE.of(figure=figure, format=format)
            for figure in evaluations.figures()
            for format in ("svg", "png", "pdf")
        ],
    localrule: True


rule fetched:
    """Only the downloads, to be run on a machine with network access."""
    input:
        study.fetched_files(),
        evaluations.fetched_files(),
    localrule: True


rule aligned:
    """The alignments and their reports."""
    input:
        study.alignment_reports(),
    localrule: True


rule initialized:
    """The initialized checkpoints, before any training."""
    input:
        study.initialized_models(),
    localrule: True
