# REQUIRED INPUTS  the local files of the corpus's sources, FETCHED_DATASET
# OUTPUTS          CORPUS_TEXT        train-00000.parquet ... and validation.parquet
#                  CORPUS_MANIFEST    documents and bytes by source, licenses, digests


rule prepare_corpus:
    """Sample, de-duplicate, split and shuffle the documents of a corpus into shards."""
    input:
        files=lambda w: ancient(study.corpus_files(w.corpus)),
        fetched=lambda w: list(study.fetched_datasets(w.corpus).values()),
    output:
        text=directory(paths.CORPUS_TEXT),
        manifest=paths.CORPUS_MANIFEST,
    log:
        paths.log("prepare_corpus", paths.CORPUS_TEXT),
    benchmark:
        paths.benchmark("prepare_corpus", paths.CORPUS_TEXT)
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=runtime(720),
    params:
        settings=settings.block("corpora/{corpus}"),
        fetched=settings.corpus_fetched,
        content=settings.corpus_content,
        version=VERSIONS["corpus"],
    shell:
        'python "$SCRIPTS"/text/prepare_corpus.py --settings {params.settings:q} --fetched {params.fetched:q}'
        " --text {output.text:q} --manifest {output.manifest:q} 2>&1 | tee {log:q}"
