"""Give a causal language model a new tokenizer: the algorithms behind the workflow's rules.

The library knows nothing of Snakemake and nothing of the layout of ``results/``: every function takes the paths
and values that it works on. See ``docs/architecture.md`` for the artifacts that are handed from step to step.
"""
