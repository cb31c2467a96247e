# Before the first job: `snakemake --profile ... preflight`. It needs and makes no results.
#
# REQUIRED INPUTS  none
# OUTPUTS          none


rule preflight:
    """Check access to models and data sets, disk, memory and the cluster, and print the plan; nothing is made."""
    log:
        "logs/preflight.log",
    retries: 0  # its findings do not change by themselves
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=lambda w: handed_over(
            preflight.settings(workflow, study, evaluations, jobs, rule_name)
        ),
        offline="--offline" if OFFLINE else "",
    # The settings grow with the study, and an argument is limited to 128 kB.
    shell:
        'HF_HUB_OFFLINE=0 python "$SCRIPTS"/preflight/preflight.py --settings {params.settings:q} {params.offline}'
        " 2>&1 | tee {log:q}"
