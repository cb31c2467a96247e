# REQUIRED INPUTS  the local files of the corpus's sources, results/fetched/datasets/{corpus}/{source}
# OUTPUTS          results/corpora/{corpus}/text            train-00000.parquet ... and validation.parquet
#                  results/corpora/{corpus}/manifest.json


rule prepare_corpus:
    """Sample, de-duplicate, split and shuffle the documents of a corpus into shards."""
    input:
        files=corpus_files,
        fetched=corpus_fetched,
    output:
        text=directory("results/corpora/{corpus}/text"),
        manifest="results/corpora/{corpus}/manifest.json",
    log:
        "logs/prepare_corpus/{corpus}.log",
    benchmark:
        "logs/benchmarks/prepare_corpus/{corpus}.tsv"
    conda:
        "../envs/data.yaml"
    threads: threads_of("prepare_corpus", 1)
    resources:
        mem_mb=memory_of("prepare_corpus", 8000),
        runtime=runtime_of("prepare_corpus", 720),
    params:
        settings=settings("corpora/{corpus}"),
        fetched=corpus_fetched_options,
        content=corpus_content,
        version=VERSIONS["corpus"],
    shell:
        'python "$SCRIPTS"/text/prepare_corpus.py --settings {params.settings:q} --fetched {params.fetched:q}'
        " --text {output.text:q} --manifest {output.manifest:q} 2>&1 | tee {log:q}"
