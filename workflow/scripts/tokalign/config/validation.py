"""The configuration: validated against the schema, defaults filled in, names resolved, experiments expanded."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from tokalign.common.errors import ConfigurationError
from tokalign.config.evaluations import check_suite_files, check_suites, check_testsets
from tokalign.config.experiments import EXPERIMENT_SECTIONS, _names
from tokalign.config.lookup import local_files, nearest
from tokalign.config.methods import VECTOR_METHODS

SOURCE_KINDS = ("folder", "gguf", "wheel", "hub", "train")
EMBEDDER_KINDS = ("folder", "wheel", "hub")
SOURCE_COMPANIONS = {"wheel": ("sha256", "file"), "hub": ("revision",)}


def load_schema(path: str | Path) -> dict[str, Any]:
    """Read the schema, which is YAML so that it can be read by people too."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # several times as fast; PyYAML may have been built without it
    return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=loader)


def key_name(path: Iterator[str | int] | tuple[str | int, ...]) -> str:
    """Write the place of a value as users write it: ``recipes.demo.stages[1].steps``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the configuration"


def _type_name(value: Any) -> str:
    names = {bool: "true/false", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a block"}
    return "nothing (null)" if value is None else names.get(type(value), type(value).__name__)


def _type_names(types: str | list[str]) -> str:
    words = {
        "object": "a block of keys", "array": "a list", "integer": "a whole number", "number": "a number",
        "string": "a text", "boolean": "true or false", "null": "null",
    }  # fmt: skip
    return " or ".join(words[t] for t in ([types] if isinstance(types, str) else types))


def explain(error: ValidationError) -> ConfigurationError:
    """Turn a schema violation into a message that names the key and what to do."""
    where = key_name(tuple(error.absolute_path))
    schema, value = error.schema, error.instance
    about = str(schema.get("description", "")).strip()
    if error.validator == "additionalProperties":
        known = list(schema.get("properties", {}))
        unknown = next(key for key in value if key not in known)
        place = key_name((*error.absolute_path, unknown))
        return ConfigurationError(f"{place}: unknown key", found=repr(unknown), mend=nearest(str(unknown), known))
    if error.validator == "required":
        missing = next(key for key in schema["required"] if key not in value)
        place = key_name((*error.absolute_path, missing))
        return ConfigurationError(
            f"{place}: missing key", expected=f"a value for {missing!r}", mend=f"add {missing!r} to {where}"
        )
    if error.validator == "type":
        found = f"{value!r} ({_type_name(value)})"
        mend = None
        if isinstance(value, str) and isinstance(error.validator_value, str) and error.validator_value in ("number", "integer"):
            mend = "write the number without quotes; YAML reads 1e-4 as text, 1.0e-4 as a number"
        return ConfigurationError(
            f"{where}: wrong type", found=found, expected=f"{_type_names(error.validator_value)}. {about}".strip(), mend=mend
        )
    if error.validator == "enum":
        known = [str(choice) for choice in error.validator_value]
        return ConfigurationError(
            f"{where}: not one of the choices", found=repr(value), expected=", ".join(known), mend=nearest(str(value), known)
        )
    if "propertyNames" in error.absolute_schema_path:
        return ConfigurationError(
            f"{where}: {value!r} cannot be the name of a block here", found=repr(value),
            expected="letters, digits, '.', '_' and single hyphens", mend="rename it",
        )  # fmt: skip
    return ConfigurationError(f"{where}: {error.message}", found=repr(value), expected=about or None)


def _resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follow references; keys beside a reference, such as another default, count, too."""
    while "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def fill_defaults(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Return a copy of ``value`` in which every key that is missing and has a default stands with it."""
    schema = _resolve(schema, root)
    if isinstance(value, Mapping):
        filled = dict(value)
        properties = schema.get("properties", {})
        for key, sub in properties.items():
            sub = _resolve(sub, root)
            if key not in filled and "default" in sub:
                filled[key] = copy.deepcopy(sub["default"])
        for key, item in filled.items():
            sub = properties.get(key, schema.get("additionalProperties"))
            if isinstance(sub, dict):
                filled[key] = fill_defaults(item, sub, root)
        return filled
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [fill_defaults(item, schema["items"], root) for item in value]
    return value


def validate(config: Mapping[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Check a configuration and return it with all defaults filled in.

    Args:
        config: as read from YAML.
        schema: from ``load_schema``.

    Returns:
        A new dictionary.

    Raises:
        ConfigurationError: the first thing that is wrong, in the order of the file; says how many others there are.
    """
    if "resources" in config:
        raise ConfigurationError(
            "resources: what jobs ask for does not belong to the configuration",
            expected="`set-resources` and `set-threads` of the profile, by rule",
            mend="move it there, or use --set-resources and --set-threads",
        )
    validator = Draft202012Validator(schema)
    plain = json.loads(json.dumps(config))  # no YAML-only types below this line
    errors = sorted(validator.iter_errors(plain), key=lambda e: (len(e.absolute_path) == 0, [str(p) for p in e.absolute_path]))
    if errors:
        raise explain(errors[0])
    filled = fill_defaults(plain, schema, schema)
    _check_sources(filled)
    check_testsets(filled)
    _check_names(filled)
    check_suites(filled)
    _check_imported_vectors(filled)
    return filled


def _check_source(place: str, source: dict[str, Any], allowed: tuple[str, ...]) -> str:
    """Check that a source has exactly one kind, of those allowed, with all that belongs to it; return the kind."""
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
    """Check that each source has exactly one kind, with all that belongs to it."""
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
    """Check that every name that is used is the name of a block."""
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
        if block["perplexity"]["stride"] > block["perplexity"]["window"]:
            raise ConfigurationError(
                f"evaluations.{name}.perplexity.stride: larger than the window, so tokens would be left out",
                found=block["perplexity"]["stride"], expected=f"at most {block['perplexity']['window']}",
            )  # fmt: skip
    for name, block in config["recipes"].items():
        stages = [stage["name"] for stage in block["stages"]]
        if len(set(stages)) != len(stages):
            raise ConfigurationError(f"recipes.{name}.stages: two stages have the same name", found=stages, mend="rename one")
        for stage in set(stages) & {"source", "initialized"}:
            raise ConfigurationError(
                f"recipes.{name}.stages: a stage has the name that results give to models before training", found=stage,
                mend="rename it",
            )  # fmt: skip
        for i, stage in enumerate(block["stages"]):
            _check_stage(f"recipes.{name}.stages[{i}]", stage, block["block"])
            if stage["mixture"]:
                _known(f"recipes.{name}.stages[{i}].mixture.corpus", stage["mixture"]["corpus"], config, "corpora")
    seen: set[str] = set()
    for i, experiment in enumerate(config["experiments"]):
        place = f"experiments[{i}]"
        if experiment["name"] in seen:
            raise ConfigurationError(f"{place}.name: used twice", found=repr(experiment["name"]), mend="rename one")
        seen.add(experiment["name"])
        for key, section in EXPERIMENT_SECTIONS.items():
            for name in _names(experiment[key]):
                _known(f"{place}.{key}", name, config, section)
        for name in experiment["baselines"]:
            _known(f"{place}.baselines", name, config, "alignments")
        for model, tokenizer in itertools.product(_names(experiment["model"]), _names(experiment["tokenizer"])):
            own = config["models"][model]["tokenizer"]
            if own == tokenizer or config["tokenizers"][own]["source"] == config["tokenizers"][tokenizer]["source"]:
                raise ConfigurationError(
                    f"{place}.tokenizer: {tokenizer!r} is the tokenizer that model {model!r} already has",
                    expected="another tokenizer", mend="name the tokenizer that the model shall get",
                )  # fmt: skip


def _check_stage(place: str, stage: dict[str, Any], block: int) -> None:
    """Check the keys of a stage against each other."""
    if (stage["steps"] is None) == (stage["tokens"] is None):
        found = "neither" if stage["steps"] is None else "both"
        raise ConfigurationError(
            f"{place}: steps or tokens", found=found, expected="one of them", mend="say how long the stage is"
        )
    if stage["batch_tokens"] % block:
        near = max(1, round(stage["batch_tokens"] / block)) * block
        raise ConfigurationError(
            f"{place}.batch_tokens: no multiple of block", found=stage["batch_tokens"], expected=f"a multiple of {block}",
            mend=f"for instance {near}",
        )  # fmt: skip
    sequences, processes = stage["batch_tokens"] // block, (stage["processes"] or max(1, stage["gpus"])) * stage["nodes"]
    if sequences % processes:
        raise ConfigurationError(
            f"{place}.batch_tokens: cannot be shared out over the processes",
            found=f"{sequences} sequences of {block} tokens for {processes} processes",
            expected=f"a multiple of {processes * block} tokens", mend="change batch_tokens, gpus, nodes or processes",
        )  # fmt: skip
    if stage["gpus"] and (stage["processes"] or 0) > stage["gpus"]:
        raise ConfigurationError(
            f"{place}.processes: more than GPUs, and processes cannot share one",
            found=f"{stage['processes']} processes on {stage['gpus']} GPUs of a node",
            expected="at most one for each GPU", mend="leave processes out, or change gpus",
        )  # fmt: skip
    if stage["quantization"] != "none" and stage["train"] != "lora":
        raise ConfigurationError(
            f"{place}.quantization: only frozen weights can be quantized",
            found=f"train: {stage['train']}",
            expected="train: lora",
        )
    if stage["quantization"] != "none" and stage["zero"] == 3:
        raise ConfigurationError(
            f"{place}.zero: ZeRO-3 shares out weights, and quantized ones cannot be", found="zero: 3", expected="zero: 0 or 2"
        )
    if stage["publish"] == "best" and not stage["heldout_steps"]:
        raise ConfigurationError(
            f"{place}.publish: best needs measurements", found="heldout_steps: 0", expected="steps between two measurements"
        )


def _check_imported_vectors(config: dict[str, Any]) -> None:
    """Check that imported vectors are there for both tokenizers of each experiment whose alignments read them.

    Snakemake would not notice: it takes an older alignment for a file that is there and cannot be made.
    """
    for i, experiment in enumerate(config["experiments"]):
        tokenizers = [config["models"][model]["tokenizer"] for model in _names(experiment["model"])]
        tokenizers += _names(experiment["tokenizer"])
        for alignment in [*_names(experiment["alignment"]), *experiment["baselines"]]:
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
        ConfigurationError: the first that does not.
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
