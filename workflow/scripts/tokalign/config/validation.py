"""Validation of the configuration: types, defaults, and references between blocks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokalign.common.errors import ConfigurationError
from tokalign.config.alignments import VECTOR_METHODS
from tokalign.config.configuration import Configuration
from tokalign.config.experiments import EXPERIMENT_SECTIONS, names_of
from tokalign.config.lookup import local_files, nearest
from tokalign.config.suite_checks import check_suite_files, check_suites, check_testsets

SOURCE_KINDS = ("folder", "gguf", "wheel", "hub", "train")
EMBEDDER_KINDS = ("folder", "wheel", "hub")
SOURCE_COMPANIONS = {"wheel": ("sha256", "file"), "hub": ("revision",)}


def validate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration and return it with all defaults filled in.

    Args:
        config: configuration from YAML.

    Returns:
        A new dictionary.

    Raises:
        ConfigurationError: a check fails; names the first error.
    """
    if "resources" in config:
        raise ConfigurationError(
            "resources: what jobs ask for does not belong to the configuration",
            expected="`set-resources` and `set-threads` of the profile, by rule",
            mend="move it there, or use --set-resources and --set-threads",
        )
    filled = Configuration.of(config).plain()
    _check_sources(filled)
    check_testsets(filled)
    _check_names(filled)
    check_suites(filled)
    _check_imported_vectors(filled)
    return filled


def _check_source(place: str, source: dict[str, Any], allowed: tuple[str, ...]) -> str:
    """Check that a source has exactly one allowed kind with its companion keys; return the kind."""
    kinds = [kind for kind in SOURCE_KINDS if kind in source]
    if len(kinds) != 1 or kinds[0] not in allowed:
        raise ConfigurationError(
            f"{place}: needs exactly one origin", found=kinds or "none", expected=f"one of {', '.join(allowed)}"
        )
    companions = SOURCE_COMPANIONS.get(kinds[0], ())
    for companion in companions:
        if companion not in source:
            raise ConfigurationError(f"{place}.{companion}: missing key", expected=f"it belongs to {kinds[0]!r}", mend="add it")
    for other in sorted(set(source) - set(kinds) - set(companions)):
        raise ConfigurationError(f"{place}.{other}: does not belong to {kinds[0]!r}", mend="remove it")
    return kinds[0]


def _check_sources(config: dict[str, Any]) -> None:
    """Check that each source has exactly one kind with its companion keys."""
    for name, corpus in config["corpora"].items():
        weights = {source: block["weight"] for source, block in corpus["sources"].items()}
        if None in weights.values() and set(weights.values()) != {None}:
            lacking = next(source for source, weight in weights.items() if weight is None)
            raise ConfigurationError(
                f"corpora.{name}.sources.{lacking}.weight: missing, but other sources of this corpus have one",
                mend="give every source a weight, or none",
            )
        for source, block in corpus["sources"].items():
            place = f"corpora.{name}.sources.{source}"
            kinds = [kind for kind in ("files", "hub") if kind in block]
            if len(kinds) != 1:
                raise ConfigurationError(f"{place}: needs exactly one origin", found=kinds or "none", expected="files or hub")
            if kinds == ["hub"] and "revision" not in block:
                raise ConfigurationError(f"{place}.revision: missing key", expected="the commit of the data set", mend="add it")
    for section in ("models", "tokenizers"):
        for name, block in config[section].items():
            place, source = f"{section}.{name}.source", block["source"]
            kind = _check_source(place, source, SOURCE_KINDS if section == "tokenizers" else SOURCE_KINDS[:-1])
            if kind == "train" and "eos" not in block["special_tokens"]:
                raise ConfigurationError(
                    f"{section}.{name}.special_tokens.eos: missing key",
                    expected="the token that ends a text; a trained tokenizer has no other special tokens than these",
                    mend='add `special_tokens: {eos: "<|endoftext|>"}`',
                )

    for name, block in config["evaluations"].items():
        source = block.get("alignment", {}).get("embedder")
        if source is not None:
            _check_source(f"evaluations.{name}.alignment.embedder", source, EMBEDDER_KINDS)


def _known(place: str, name: str, config: dict[str, Any], section: str) -> None:
    if name not in config[section]:
        raise ConfigurationError(
            f"{place}: no block of this name under {section}", found=repr(name), mend=nearest(name, list(config[section]))
        )


def _check_names(config: dict[str, Any]) -> None:
    """Check that every used name is the name of a block."""
    for name, block in config["models"].items():
        _known(f"models.{name}.tokenizer", block["tokenizer"], config, "tokenizers")
    for name, block in config["tokenizers"].items():
        if "train" in block["source"]:
            _known(f"tokenizers.{name}.source.train.corpus", block["source"]["train"]["corpus"], config, "corpora")
    for name, block in config["alignments"].items():
        if "imported" in block["methods"] and "imported" not in block:
            raise ConfigurationError(
                f"alignments.{name}.imported: missing key",
                expected="the method 'imported' reads a file",
                mend="add `imported: {file: PATH}`",
            )
        reading = [method for method in block["methods"] if method in VECTOR_METHODS]
        if reading:
            if "vectors" not in block:
                raise ConfigurationError(
                    f"alignments.{name}.vectors: missing key",
                    expected=f"the method {reading[0]!r} reads vectors",
                    mend="name a vectors block",
                )
            _known(f"alignments.{name}.vectors", block["vectors"], config, "vectors")
    for name, block in config["vectors"].items():
        for tokenizer in block.get("imported", {}).get("files", {}):
            _known(f"vectors.{name}.imported.files.{tokenizer}", tokenizer, config, "tokenizers")
    for name, block in config["evaluations"].items():
        _known(f"evaluations.{name}.corpus", block["corpus"], config, "corpora")
    for name, block in config["recipes"].items():
        for i, stage in enumerate(block["stages"]):
            if stage["mixture"]:
                _known(f"recipes.{name}.stages[{i}].mixture.corpus", stage["mixture"]["corpus"], config, "corpora")
    seen: set[str] = set()
    for i, experiment in enumerate(config["experiments"]):
        place = f"experiments[{i}]"
        if experiment["name"] in seen:
            raise ConfigurationError(f"{place}.name: used twice", found=repr(experiment["name"]), mend="rename one")
        seen.add(experiment["name"])
        for key, section in EXPERIMENT_SECTIONS.items():
            for name in names_of(experiment[key]):
                _known(f"{place}.{key}", name, config, section)
        for name in experiment["baselines"]:
            _known(f"{place}.baselines", name, config, "alignments")
        for model, tokenizer in itertools.product(names_of(experiment["model"]), names_of(experiment["tokenizer"])):
            own = config["models"][model]["tokenizer"]
            if own == tokenizer or config["tokenizers"][own]["source"] == config["tokenizers"][tokenizer]["source"]:
                raise ConfigurationError(
                    f"{place}.tokenizer: {tokenizer!r} is the tokenizer that model {model!r} already has",
                    expected="another tokenizer", mend="name the new tokenizer for the model",
                )  # fmt: skip


def _check_imported_vectors(config: dict[str, Any]) -> None:
    """Check that imported vectors exist for both tokenizers of each experiment whose alignments read them.

    Snakemake would not notice: it takes an older alignment for an existing file that no rule makes.
    """
    for i, experiment in enumerate(config["experiments"]):
        tokenizers = [config["models"][model]["tokenizer"] for model in names_of(experiment["model"])]
        tokenizers += names_of(experiment["tokenizer"])
        for alignment in [*names_of(experiment["alignment"]), *experiment["baselines"]]:
            block = config["alignments"][alignment]
            if not set(block["methods"]) & set(VECTOR_METHODS) or config["vectors"][block["vectors"]]["method"] != "imported":
                continue
            files = config["vectors"][block["vectors"]]["imported"]["files"]
            for tokenizer in tokenizers:
                if tokenizer not in files:
                    raise ConfigurationError(
                        f"vectors.{block['vectors']}.imported.files.{tokenizer}: missing key",
                        found=f"files for {', '.join(sorted(files))}",
                        expected=f"vectors of this tokenizer, which alignment {alignment!r} reads for experiments[{i}]",
                        mend=f"add `{tokenizer}: PATH`, or name another vectors block in the alignment",
                    )


def check_files(config: dict[str, Any]) -> None:
    """Check that every local file and folder that the configuration names exists.

    Raises:
        ConfigurationError: names the first that is missing.
    """
    for name, corpus in config["corpora"].items():
        for source, block in corpus["sources"].items():
            if "files" in block:
                local_files(block["files"], f"corpora.{name}.sources.{source}.files")
    for name, block in config["vectors"].items():
        for tokenizer, path in block.get("imported", {}).get("files", {}).items():
            if not Path(path).is_file():
                raise ConfigurationError(
                    f"vectors.{name}.imported.files.{tokenizer}: no such file", found=path, mend="correct the path"
                )
    for name, block in config["alignments"].items():
        path = block.get("imported", {}).get("file")
        if "imported" in block["methods"] and not Path(path).is_file():
            raise ConfigurationError(f"alignments.{name}.imported.file: no such file", found=path, mend="correct the path")
    for section in ("models", "tokenizers"):
        for name, block in config[section].items():
            for kind, exists, what in (("folder", Path.is_dir, "folder"), ("gguf", Path.is_file, "file")):
                path = block["source"].get(kind)
                if path is not None and not exists(Path(path)):
                    raise ConfigurationError(
                        f"{section}.{name}.source.{kind}: no such {what}", found=path, mend="correct the path"
                    )
    for name, block in config["evaluations"].items():
        folder = block.get("alignment", {}).get("embedder", {}).get("folder")
        if folder is not None and not Path(folder).is_dir():
            place = f"evaluations.{name}.alignment.embedder.folder"
            raise ConfigurationError(f"{place}: no such folder", found=folder, mend="correct the path")
    check_suite_files(config)
