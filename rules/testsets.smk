# REQUIRED INPUTS  files of the user's, or results/fetched/testsets/{testset}
# OUTPUTS          results/testsets/{testset}/items.parquet    the items of one data set in one form for its kind
#                  results/testsets/{testset}/manifest.json    how many, how many were left out and why, digests, license


rule prepare_testset:
    """Segments, questions or prompts of one data set, checked and in one form."""
    input:
        files=testset_files,
        texts=testset_texts,
        fetched=testset_fetched,
    output:
        rows="results/testsets/{testset}/items.parquet",
        manifest="results/testsets/{testset}/manifest.json",
    log:
        "logs/prepare_testset/{testset}.log",
    benchmark:
        "logs/benchmarks/prepare_testset/{testset}.tsv"
    conda:
        "../envs/data.yaml"
    threads: threads_of("prepare_testset", 1)
    resources:
        mem_mb=memory_of("prepare_testset", 4000),
        runtime=runtime_of("prepare_testset", 30),
    params:
        settings=testset_settings,
        content=testset_content,
        files=option_of("--files", "files"),
        texts=testset_languages,
        fetched=option_of("--fetched", "fetched"),
        version=VERSIONS["testset"],
    shell:
        'python "$SCRIPTS"/evaluation/prepare_testset.py --name {wildcards.testset:q} {params.files} {params.texts}'
        " {params.fetched} --settings {params.settings:q} --items {output.rows:q} --manifest {output.manifest:q} 2>&1 | tee {log:q}"
