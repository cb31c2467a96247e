"""Checks of test sets and evaluation suites that types cannot express: names, kinds and files that must match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokalign.common.errors import ConfigurationError
from tokalign.config.lookup import local_files, nearest

ROLES = {"choices": {"question", "choices", "answer"}, "prompts": {"text"}}
"""Required fields of a test set by kind; the fields of a parallel test set are its languages."""
OPTIONAL_ROLES = {"choices": {"context"}, "prompts": set()}
ORIGINS = ("files", "text_files", "hub")
AT_LEAST_TWO = 2
OWN_DATASETS = ("validation", "heldout")
"""Names of corpus text in results, which no test set may have."""


def check_testsets(config: dict[str, Any]) -> None:
    """Check origin and fields of every test set.

    Raises:
        ConfigurationError: a check fails; names the first error.
    """
    for name, block in config["testsets"].items():
        place, kind, fields = f"testsets.{name}", block["kind"], block["fields"]
        if name in OWN_DATASETS:
            raise ConfigurationError(
                f"{place}: results give this name to text of the corpus", expected="another name", mend="rename the test set"
            )
        origins = [origin for origin in ORIGINS if origin in block]
        if len(origins) != 1:
            raise ConfigurationError(
                f"{place}: needs exactly one origin", found=origins or "none", expected="files, text_files or hub"
            )
        if origins == ["hub"] and "revision" not in block:
            raise ConfigurationError(f"{place}.revision: missing key", expected="the commit of the data set", mend="add it")
        if origins == ["text_files"]:
            if kind != "parallel":
                raise ConfigurationError(f"{place}.text_files: only of parallel sets", found=f"kind: {kind}", mend="use files")
            if fields != {language: language for language in block["text_files"]}:
                raise ConfigurationError(
                    f"{place}.fields: not the languages of text_files",
                    found=", ".join(f"{language}: {field}" for language, field in fields.items()),
                    expected=", ".join(f"{language}: {language}" for language in block["text_files"]),
                    mend="name the same languages in both, each field as its language",
                )  # fmt: skip
        if block["max_characters"] is not None and block["max_characters"] < block["min_characters"]:
            raise ConfigurationError(
                f"{place}.max_characters: less than min_characters, which leaves nothing",
                found=f"{block['max_characters']} and {block['min_characters']}", expected="a greater number",
            )  # fmt: skip
        if kind == "parallel":
            if len(fields) < AT_LEAST_TWO:
                raise ConfigurationError(
                    f"{place}.fields: a parallel set needs two languages", found=fields, expected="{es: FIELD, en: FIELD}"
                )
            if "id" in fields:
                raise ConfigurationError(
                    f"{place}.fields.id: the column of the items' names", expected="another code", mend="write ind for Indonesian"
                )
            wrong = [language for language, field in fields.items() if not isinstance(field, str)]
            if wrong:
                raise ConfigurationError(f"{place}.fields.{wrong[0]}: a list", expected="the name of one field")
            continue
        missing = sorted(ROLES[kind] - set(fields))
        unknown = sorted(set(fields) - ROLES[kind] - OPTIONAL_ROLES[kind])
        if missing or unknown:
            raise ConfigurationError(
                f"{place}.fields: not those of kind {kind}", found=", ".join(fields) or "none",
                expected=", ".join(sorted(ROLES[kind])) + "".join(f", and perhaps {role}" for role in OPTIONAL_ROLES[kind]),
                mend=f"add {missing[0]}" if missing else f"remove {unknown[0]}",
            )  # fmt: skip
        lists = [role for role, field in fields.items() if isinstance(field, list) and role != "choices"]
        if lists:
            raise ConfigurationError(f"{place}.fields.{lists[0]}: a list", expected="the name of one field")


def _testset(place: str, name: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the block of a test set named by a suite.

    Raises:
        ConfigurationError: there is no such test set, or it is of another kind.
    """
    if name not in config["testsets"]:
        known = [other for other, block in config["testsets"].items() if block["kind"] == kind]
        raise ConfigurationError(f"{place}: no block of this name under testsets", found=repr(name), mend=nearest(name, known))
    block = config["testsets"][name]
    if block["kind"] != kind:
        raise ConfigurationError(f"{place}: a test set of another kind", found=f"{name} is {block['kind']}", expected=kind)
    return block


def _language(place: str, language: str, testset: dict[str, Any]) -> None:
    if language not in testset["fields"]:
        raise ConfigurationError(
            f"{place}: not a language of the test set", found=repr(language), expected=" or ".join(testset["fields"])
        )


def check_suites(config: dict[str, Any]) -> None:
    """Check test sets, languages, tokenizers and criteria that the suites of every evaluation name.

    Raises:
        ConfigurationError: a check fails; names the first error.
    """
    for name, block in config["evaluations"].items():
        place = f"evaluations.{name}"
        reference = block["perplexity"]["reference_tokenizer"]
        if reference is not None and reference not in config["tokenizers"]:
            raise ConfigurationError(
                f"{place}.perplexity.reference_tokenizer: no block of this name under tokenizers", found=repr(reference),
                mend=nearest(reference, list(config["tokenizers"])),
            )  # fmt: skip
        parity = block["tokenizers"]["testset"]
        if parity is not None:
            testset = _testset(f"{place}.tokenizers.testset", parity, "parallel", config)
            _language(f"{place}.tokenizers.parity_language", block["tokenizers"]["parity_language"], testset)
        for i, testset in enumerate(block.get("choices", {}).get("testsets", [])):
            _testset(f"{place}.choices.testsets[{i}]", testset, "choices", config)
        for i, direction in enumerate(block.get("translation", {}).get("directions", [])):
            where = f"{place}.translation.directions[{i}]"
            testset = _testset(f"{where}.testset", direction["testset"], "parallel", config)
            for side in ("source", "target"):
                _language(f"{where}.{side}", direction[side], testset)
            if direction["source"] == direction["target"]:
                raise ConfigurationError(f"{where}: translates a language into itself", found=direction["source"])
        prompts = block.get("generation", {}).get("testset")
        if prompts is not None:
            _testset(f"{place}.generation.testset", prompts, "prompts", config)
        for i, criterion in enumerate(block["comparison"]["criteria"]):
            limits = [key for key in ("relative_loss", "absolute_loss") if key in criterion]
            if len(limits) != 1:
                raise ConfigurationError(
                    f"{place}.comparison.criteria[{i}]: needs exactly one limit", found=limits or "none",
                    expected="relative_loss or absolute_loss",
                )  # fmt: skip
            if criterion["suite"] not in block:
                raise ConfigurationError(
                    f"{place}.comparison.criteria[{i}].suite: the evaluation does not have it", found=criterion["suite"],
                    mend=f"add `{criterion['suite']}:` to {place}, or remove the criterion",
                )  # fmt: skip
            chosen = block[criterion["suite"]].get("checkpoints", ["source", "adapted"])
            missing = [kind for kind in ("source", "adapted") if kind not in chosen]
            if missing:
                raise ConfigurationError(
                    f"{place}.comparison.criteria[{i}]: compares adapted models with their source, and {criterion['suite']} does not "
                    "measure both", found=f"checkpoints: {', '.join(chosen)}", expected="source and adapted among them",
                    mend=f"add {missing[0]} to {place}.{criterion['suite']}.checkpoints",
                )  # fmt: skip


def check_suite_files(config: dict[str, Any]) -> None:
    """Check that every local file and folder of test sets and evaluation suites exists.

    Raises:
        ConfigurationError: names the first that is missing.
    """
    for name, block in config["testsets"].items():
        local_files(block.get("files", []), f"testsets.{name}.files")
        for language, path in block.get("text_files", {}).items():
            found = local_files([path], f"testsets.{name}.text_files.{language}")
            if found != [path]:
                raise ConfigurationError(
                    f"testsets.{name}.text_files.{language}: a pattern", found=path, expected="the path of one file",
                    mend=f"write {found[0]}",
                )  # fmt: skip
    for name, block in config["evaluations"].items():
        folders = [("tasks.include", block.get("tasks", {}).get("include"))]
        folders += [(f"comparison.merge[{i}]", path) for i, path in enumerate(block["comparison"]["merge"])]
        for key, path in folders:
            if path is not None and not Path(path).is_dir():
                raise ConfigurationError(f"evaluations.{name}.{key}: no such folder", found=path, mend="correct the path")
        local_files(block["comparison"]["references"], f"evaluations.{name}.comparison.references")
