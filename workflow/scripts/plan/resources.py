"""Resources of jobs: memory, time, threads and GPUs, estimated from sizes of models, vocabularies and corpora.

Sizes are known once the files that state them exist. A plan made earlier shows the values for unknown sizes; Snakemake asks again
when a job starts. None of this makes a rule run again. A profile or ``--set-resources`` overrides the values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokalign.cluster.gpus import UNKNOWN_GPU
from tokalign.common.files import read_json
from tokalign.preflight import estimates

from plan import paths
from plan.evaluations import Evaluations
from plan.study import Study

LONGEST_TRAINING_JOB = 1440
"""Limit of a training job in minutes; a longer training continues in the next job. The profile may set another limit."""
THREADS_OF_A_PROCESS = 8
"""Threads of each training process."""


def memory(otherwise: int, estimate: Callable[[Any], float | None] | None = None) -> Callable[[Any, int], int]:
    """Return a resource function: MB, doubled at each retry, as a job may run out of memory.

    Args:
        otherwise: MB if a size is unknown.
        estimate: function of the wildcards; MB, or ``None`` if a size is unknown.
    """

    def asked(wildcards: Any, attempt: int) -> int:
        found = estimate(wildcards) if estimate else None
        return (otherwise if found is None else estimates.asked_memory_mb(found)) * 2 ** (attempt - 1)

    return asked


def runtime(otherwise: int, estimate: Callable[[Any, int], float | None] | None = None) -> Callable[[Any, int, int], int]:
    """Return a resource function: minutes, increased by the same amount at each further attempt.

    Args:
        otherwise: minutes if a size is unknown.
        estimate: function of the wildcards and the threads; hours, or ``None`` if a size is unknown.
    """

    def asked(wildcards: Any, attempt: int, threads: int) -> int:
        return first_runtime(otherwise, estimate(wildcards, threads) if estimate else None) * attempt

    return asked


def first_runtime(otherwise: int, hours: float | None) -> int:
    """Return the minutes to request for an estimate in hours."""
    return otherwise if hours is None else estimates.asked_minutes(hours)


def stated(path: str) -> Any:
    """Return the content of a JSON file of an earlier rule, or ``None`` without the file."""
    return read_json(Path(path)) if Path(path).exists() else None


class Profile:
    """Resources set for rules by the profile or the command line; the only reader of Snakemake's internals.

    Args:
        settings: ``workflow.resource_settings``.
        name_of: returns a rule's name in the running workflow, which may use this one as a module with a prefix.
    """

    def __init__(self, settings: Any, name_of: Callable[[str], str] = str):
        """Keep the settings."""
        self.name_of = name_of
        self.of_rules: Mapping[str, Any] = settings.overwrite_resources
        self.threads: Mapping[str, Any] = settings.overwrite_threads
        self.defaults: Mapping[str, Any] = settings.default_resources or {}

    def resource(self, rule: str, name: str) -> str | None:
        """Return the value of a resource of a rule as text, or ``None`` if none is set."""
        return self._text(self.of_rules.get(self.name_of(rule), {}), name)

    def default(self, name: str) -> str | None:
        """Return the value of a resource that is set for all rules, or ``None``."""
        return self._text(self.defaults, name)

    def gpu_model(self, rule: str) -> str | None:
        """Return the GPU model of a rule: ``gpu_model: h100``, or the middle of ``gres: gpu:h100:1``."""
        parts = (self.resource(rule, "gres") or "").split(":")
        return self.resource(rule, "gpu_model") or (parts[1] if len(parts) == 3 else None)

    @staticmethod
    def _text(values: Mapping[str, Any], name: str) -> str | None:
        if name not in values:
            return None
        return str(getattr(values[name], "raw", values[name])).strip("'\"")


class Jobs:
    """Estimates for the jobs of a study.

    Args:
        study: the experiments.
        evaluations: evaluations of the study.
        profile: values set by the profile.
    """

    def __init__(self, study: Study, evaluations: Evaluations, profile: Profile):
        """Store the arguments."""
        self.study, self.evaluations, self.profile = study, evaluations, profile
        self.config = study.config

    # ---- sizes ----

    def model_size(self, model: str) -> estimates.ModelSize | None:
        """Return the size of a model, if its files exist."""
        info = stated(paths.MODEL_INFO.of(model=model))
        return None if info is None else estimates.ModelSize.of(info)

    def vocabulary_size(self, tokenizer: str) -> int | None:
        """Return the number of ids of a tokenizer, if known; for one to be trained, the configured number."""
        info = stated(paths.TOKENIZER_INFO.of(tokenizer=tokenizer))
        if info is not None:
            return info["size"]
        return self.study.tokenizer_source(tokenizer).get("train", {}).get("vocabulary_size")

    def adapted_size(self, model: str, tokenizer: str) -> estimates.ModelSize | None:
        """Return the size of a model with another vocabulary, or with its own while that is unknown."""
        size = self.model_size(model)
        return size and size.with_rows(self.vocabulary_size(tokenizer) or size.rows)

    def corpus_tokens(self, corpus: str) -> int | None:
        """Return the tokens of a corpus under a usual tokenizer, if the configuration states its bytes."""
        block = self.config["corpora"][corpus]
        sources = [source.get("max_bytes") for source in block["sources"].values()]
        size = block["byte_budget"] or (None if None in sources else sum(sources))
        return size and size // estimates.BYTES_PER_TOKEN

    # ---- vectors and alignments ----

    def counting_mb(self, names: Any) -> float:
        """Return the memory of counting."""
        return estimates.counting_memory_mb(self.config["vectors"][names.vectors]["count"]["memory_gb"])

    def counting_hours(self, names: Any, threads: int) -> float | None:
        """Return the time of counting."""
        tokens = self.corpus_tokens(names.corpus)
        return tokens and estimates.counting_hours(tokens, threads)

    def glove_mb(self, names: Any) -> float | None:
        """Return the memory of GloVe."""
        size, rows = self._cooccurrences_bytes(names), self.vocabulary_size(names.tokenizer)
        return (
            size and rows and estimates.glove_memory_mb(size, rows, self.config["vectors"][names.vectors]["glove"]["dimensions"])
        )

    def glove_hours(self, names: Any, threads: int) -> float | None:
        """Return the time of GloVe."""
        size = self._cooccurrences_bytes(names)
        return size and estimates.glove_hours(size, self.config["vectors"][names.vectors]["glove"]["iterations"], threads)

    def _cooccurrences_bytes(self, names: Any) -> int | None:
        path = Path(paths.COOCCURRENCES.of(names))
        return path.stat().st_size if path.exists() else None

    def _compared(self, names: Any) -> tuple[int, int, int] | None:
        """Return the tokens on both sides of an alignment, and the numbers compared per token."""
        sizes = [self.vocabulary_size(names.source_tokenizer), self.vocabulary_size(names.target_tokenizer)]
        if None in sizes:
            return None
        block = self.config["alignments"][names.alignment]
        vectors = self.config["vectors"].get(block.get("vectors"), {})
        lengths = [vectors.get(method, {}).get("dimensions", 0) for method in ("glove", "fasttext")]
        lengths += [own["pivots"] for own in block.values() if isinstance(own, dict) and isinstance(own.get("pivots"), int)]
        return *sizes, max([300, *lengths])

    def alignment_mb(self, names: Any) -> float | None:
        """Return the memory of an alignment."""
        found = self._compared(names)
        return found and estimates.alignment_memory_mb(*found)

    def alignment_hours(self, names: Any, threads: int) -> float | None:
        """Return the time of an alignment."""
        found = self._compared(names)
        return found and estimates.alignment_hours(*found, threads)

    # ---- initialization ----

    def _with_rows(self, names: Any) -> tuple[estimates.ModelSize, int] | None:
        size, rows = self.model_size(names.model), self.vocabulary_size(names.tokenizer)
        return (size, rows) if size and rows else None

    def fit_mb(self, names: Any) -> float | None:
        """Return the memory of fitting rows."""
        found = self._with_rows(names)
        return found and estimates.fit_memory_mb(*found)

    def initialization_mb(self, names: Any) -> float | None:
        """Return the memory of an initialization."""
        found = self._with_rows(names)
        return found and estimates.initialization_memory_mb(*found)

    def initialization_hours(self, names: Any, threads: int) -> float | None:
        """Return the time of an initialization."""
        found = self._with_rows(names)
        return found and estimates.initialization_hours(*found)

    # ---- evaluation ----

    def _checkpoint_size(self, names: Any) -> estimates.ModelSize | None:
        of = self.evaluations.checkpoint_names(names.checkpoint)
        return self.adapted_size(of["model"], of["tokenizer"])

    def _gpu(self, names: Any, rule: str) -> str | None:
        used = self.config["evaluations"][names.evaluation]["gpus"]
        return (self.profile.gpu_model(rule) or UNKNOWN_GPU) if used else None

    def scoring_mb(self, names: Any) -> float | None:
        """Return the memory of a suite that scores or writes with a model."""
        size = self._checkpoint_size(names)
        return size and estimates.evaluation_memory_mb(size)

    def perplexity_hours(self, names: Any, threads: int) -> float | None:
        """Return the time of the suite perplexity; each group of documents is assumed to be full."""
        size, block = self._checkpoint_size(names), self.config["evaluations"][names.evaluation]
        sources = self.config["corpora"][block["corpus"]]["sources"].values()
        groups = len({(source["language"], source["domain"]) for source in sources})
        tokens = groups * block["sample"]["bytes_per_group"] // estimates.BYTES_PER_TOKEN
        overlap = block["perplexity"]["window"] / block["perplexity"]["stride"]
        gpu = self._gpu(names, "evaluate_perplexity")
        return size and estimates.evaluation_hours(size, tokens, overlap, gpu, threads)

    def choices_hours(self, names: Any, threads: int) -> float | None:
        """Return the time of the suite choices; a question is read with each of its choices."""
        size = self._checkpoint_size(names)
        testsets = self.evaluations.testsets(names.evaluation, "choices")
        made = [stated(paths.TESTSET_MANIFEST.of(testset=name)) for name in testsets]
        if size is None or None in made:
            return None
        tokens = sum(testset["bytes"] for testset in made) // estimates.BYTES_PER_TOKEN
        return estimates.evaluation_hours(size, tokens, 1, self._gpu(names, "answer_choices"), threads)

    # ---- training ----

    def _stage_cost(self, names: Any) -> tuple[estimates.ModelSize, estimates.Stage] | None:
        """Return the size of the trained model and the cost settings of the stage."""
        size = self.adapted_size(names.model, names.tokenizer)
        block = self.study.recipe(names.recipe)["block"]
        return size and (size, estimates.Stage.of(self._stage(names), block))

    def _stage(self, names: Any) -> dict[str, Any]:
        return self.study.stage(names.recipe, names.stage)

    def stage_mb(self, names: Any) -> float | None:
        """Return the memory of a training."""
        cost = self._stage_cost(names)
        return cost and estimates.training_memory_mb(*cost)

    def stage_minutes(self, names: Any, threads: int) -> int:
        """Return the minutes of a training job, equal at each attempt, as the next one continues."""
        cost = self._stage_cost(names)
        hours = cost and estimates.training_hours(*cost, self.profile.gpu_model("train_stage"), threads)
        return min(first_runtime(LONGEST_TRAINING_JOB, hours), LONGEST_TRAINING_JOB)

    def stage_processes(self, names: Any) -> int:
        """Return the processes per node: one per GPU, or the number in the stage."""
        block = self._stage(names)
        return block["processes"] or max(1, block["gpus"])

    def stage_threads(self, names: Any) -> int:
        """Return the threads of a training per node."""
        return THREADS_OF_A_PROCESS * self.stage_processes(names)

    def stage_gpus(self, names: Any) -> int:
        """Return the GPUs of the whole job."""
        block = self._stage(names)
        return block["gpus"] * block["nodes"]

    def stage_nodes(self, names: Any) -> int:
        """Return the nodes of a training."""
        return self._stage(names)["nodes"]

    def on_several_nodes(self, value: Any) -> Callable[[Any, int], Any]:
        """Return a resource function: a value if a stage runs on several nodes, else no such resource.

        Args:
            value: the value, or a function of the wildcards and the threads.
        """

        def resource(wildcards: Any, threads: int) -> Any:
            if self.stage_nodes(wildcards) == 1:
                return None
            return value(wildcards, threads) if callable(value) else value

        return resource

    def tasks(self, names: Any, threads: int) -> int | None:
        """Return the tasks of the job if each node has one, else ``None``.

        Otherwise the tasks per node are stated instead.
        """
        return self.stage_nodes(names) if self.stage_processes(names) == 1 else None

    def tasks_per_node(self, names: Any, threads: int) -> int | None:
        """Return the tasks per node if there are several, else ``None``.

        Given only the total, Slurm would spread them unevenly.
        """
        processes = self.stage_processes(names)
        return processes if processes > 1 else None

    def threads_of_a_task(self, names: Any, threads: int) -> int:
        """Return the threads of one of the processes that train on a node."""
        return max(1, threads // self.stage_processes(names))

    def gpus_per_node(self, names: Any, threads: int) -> str | None:
        """Return sbatch's option for the GPUs per node: given only the total, Slurm may spread them unevenly.

        A profile with ``gres`` already states the number per node.
        """
        gpus = self._stage(names)["gpus"]
        if not gpus or self.profile.resource("train_stage", "gres"):
            return None
        model = self.profile.gpu_model("train_stage")
        return f"--gpus-per-node={model}:{gpus}" if model else f"--gpus-per-node={gpus}"
