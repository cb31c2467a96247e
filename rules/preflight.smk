# Before the first job: `snakemake --profile ... preflight`. It depends on no result and makes none.
#
# REQUIRED INPUTS  none
# OUTPUTS          none


rule preflight:
    """Access to models and data sets, disk, memory and the cluster are checked, and the plan is printed; nothing is made."""
    log:
        "logs/preflight.log",
    retries: 0  # what it finds does not change by itself
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=lambda w: preflight.settings(workflow, study, evaluations, jobs, rule_name),
        offline="--offline" if OFFLINE else "",
    # The settings are as long as the study is large, and an argument may be 128 kB long.
    shell:
        'HF_HUB_OFFLINE=0 python "$SCRIPTS"/preflight/preflight.py --settings - {params.offline}'
        " 2>&1 <<< {params.settings:q} | tee {log:q}"
