# REQUIRED INPUTS  the local files of the corpus's sources, results/fetched/datasets/{corpus}/{source}
# OUTPUTS          results/corpora/{corpus}/text            train-00000.parquet ... and validation.parquet
#                  results/corpora/{corpus}/manifest.json


def corpus_files(wildcards):
    sources = config["corpora"][wildcards.corpus]["sources"]
    return [
        ancient(path)
        for name, block in sources.items()
        for path in local_files(block.get("files", []), f"corpora.{wildcards.corpus}.sources.{name}.files")
    ]


def corpus_content(wildcards):
    return DIGESTS.digest(corpus_files(wildcards))


def corpus_fetched(wildcards):
    return list(fetched_datasets(wildcards.corpus).values())


def corpus_fetched_options(wildcards):
    return [f"{name}={path}" for name, path in fetched_datasets(wildcards.corpus).items()]


rule prepare_corpus:
    """Sample, de-duplicate, split and shuffle the documents of a corpus into shards."""
    input:
        files=corpus_files,
        fetched=corpus_fetched,
    output:
        text=directory("results/corpora/{corpus}/text"),
        manifest="results/corpora/{corpus}/manifest.json",
    params:
        settings=settings("corpora/{corpus}"),
        fetched=corpus_fetched_options,
        content=corpus_content,
        version=VERSIONS["corpus"],
    log:
        "logs/prepare_corpus/{corpus}.log",
    benchmark:
        "logs/benchmarks/prepare_corpus/{corpus}.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=720,
    shell:
        "python {SCRIPTS}/prepare_corpus.py --settings {params.settings:q} --fetched {params.fetched:q}"
        " --text {output.text:q} --manifest {output.manifest:q} 2>&1 | tee {log:q}"
