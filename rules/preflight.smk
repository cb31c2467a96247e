# Before the first job: `snakemake --profile ... preflight`. It depends on no result and makes none.
#
# REQUIRED INPUTS  none
# OUTPUTS          none


localrules:
    preflight,


rule preflight:
    """Access to models and data sets, disk, memory and the cluster are checked, and the plan is printed; nothing is made."""
    log:
        "logs/preflight.log",
    retries: 0  # what it finds does not change by itself
    conda:
        "../envs/data.yaml"
    params:
        settings=preflight_settings,
        offline="--offline" if OFFLINE else "",
    shell:
        'HF_HUB_OFFLINE=0 python "$SCRIPTS"/preflight/preflight.py --settings {params.settings:q} {params.offline} 2>&1 | tee {log:q}'
