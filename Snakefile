# tokalign-workflow: give a causal language model a new tokenizer. See README.md; docs/architecture.md shows the DAG.

from snakemake.utils import min_version

min_version("9.27")


if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/suites.smk"
include: "rules/stages.smk"
include: "rules/resources.smk"
include: "rules/fetch.smk"
include: "rules/corpora.smk"
include: "rules/tokenizers.smk"
include: "rules/models.smk"
include: "rules/tokens.smk"
include: "rules/vectors.smk"
include: "rules/alignments.smk"
include: "rules/initialize.smk"
include: "rules/train.smk"
include: "rules/testsets.smk"
include: "rules/evaluate.smk"
include: "rules/answer.smk"
include: "rules/generate.smk"
include: "rules/scores.smk"
include: "rules/compare.smk"
include: "rules/report.smk"
include: "rules/figures.smk"
include: "rules/plan.smk"
include: "rules/preflight.smk"


localrules:
    all,
    fetched,
    aligned,
    initialized,


rule all:
    """Everything that the experiments ask for: adapted models, evaluations, tables and figures."""
    default_target: True
    input:
        adapted_models(),
        TABLES.values(),
        "results/summary.md",
        figure_files(),


rule fetched:
    """Only what comes from the network, to be run on a machine that has it."""
    input:
        fetched_files(),


rule aligned:
    """The alignments and their reports."""
    input:
        alignment_reports(),


rule initialized:
    """The initialized checkpoints, before any training."""
    input:
        initialized_models(),
