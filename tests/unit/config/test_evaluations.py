"""Test sets and suites in the configuration: what does not belong together is named with its key."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from support.project import CONFIG
from tokalign.common.errors import ConfigurationError
from tokalign.config.validation import check_files, validate

TESTSETS = {
    "flores": {"kind": "parallel", "text_files": {"es": "flores.es", "en": "flores.en"}, "fields": {"es": "es", "en": "en"}},
    "opus": {
        "kind": "parallel",
        "hub": "o/opus",
        "revision": "c0ffee",
        "fields": {"es": "translation.es", "en": "translation.en"},
    },
    "exam": {"kind": "choices", "files": ["exam.jsonl"], "fields": {"question": "q", "choices": ["a", "b"], "answer": "key"}},
    "stories": {"kind": "prompts", "files": ["stories.jsonl"], "fields": {"text": "text"}},
}
SUITES = {
    "tokenizers": {"testset": "flores", "parity_language": "es"},
    "choices": {"testsets": ["exam"]},
    "translation": {"directions": [{"testset": "opus", "source": "es", "target": "en"}]},
    "generation": {"testset": "stories"},
}


@pytest.fixture
def config() -> dict[str, Any]:
    whole = copy.deepcopy(CONFIG)
    whole["testsets"] = copy.deepcopy(TESTSETS)
    whole["evaluations"]["heldout"] |= copy.deepcopy(SUITES)
    return whole


def put(config: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a path such as ``testsets.exam.fields``; ``None`` removes it."""
    *parents, last = path.split(".")
    block = config
    for part in parents:
        block = block[int(part) if part.isdecimal() else part]
    if value is None:
        del block[last]
    else:
        block[last] = value


def refused(config: dict[str, Any], *changes: tuple[str, Any]) -> str:
    for path, value in changes:
        put(config, path, value)
    with pytest.raises(ConfigurationError) as caught:
        validate(config)
    return str(caught.value)


def test_all_kinds_and_suites(config):
    filled = validate(config)
    assert filled["testsets"]["exam"] == {
        **TESTSETS["exam"], "subset": None, "split": "test", "answers": "number0", "language": "en", "domain": "general",
        "min_characters": 1, "max_characters": None, "limit": None, "license": "unknown",
    }  # fmt: skip
    assert filled["evaluations"]["heldout"]["choices"]["prompt"] == "Question: {question}\nAnswer:"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("testsets.validation", TESTSETS["flores"])], "testsets.validation: results give this name to text of the corpus"),
        ([("testsets.exam.hub", "o/exam")], "testsets.exam: needs exactly one origin"),
        ([("testsets.exam.files", None)], "testsets.exam: needs exactly one origin"),
        ([("testsets.opus.revision", None)], "testsets.opus.revision: missing key"),
        ([("testsets.exam.files", None), ("testsets.exam.text_files", {"a": "x", "b": "y"})],
         "testsets.exam.text_files: only of parallel sets"),
        ([("testsets.flores.fields", {"es": "es", "fr": "fr"})], "testsets.flores.fields: not the languages of text_files"),
        ([("testsets.flores.fields", {"es": "en", "en": "es"})], "testsets.flores.fields: not the languages of text_files"),
        ([("testsets.opus.fields", {"es": "es"})], "testsets.opus.fields: a parallel set needs two languages"),
        ([("testsets.opus.fields.es", ["a", "b"])], "testsets.opus.fields.es: a list"),
        ([("testsets.opus.fields", {"id": "id", "en": "en"})], "testsets.opus.fields.id: the column of the items' names"),
        ([("testsets.exam.fields.answer", None)], "testsets.exam.fields: not those of kind choices"),
        ([("testsets.exam.fields.hint", "hint")], "testsets.exam.fields: not those of kind choices"),
        ([("testsets.exam.fields.question", ["a", "b"])], "testsets.exam.fields.question: a list"),
        ([("testsets.stories.fields", {})], "testsets.stories.fields: not those of kind prompts"),
        ([("testsets.stories.min_characters", 9), ("testsets.stories.max_characters", 8)], "testsets.stories.max_characters: less"),
    ],
)  # fmt: skip
def test_test_sets_that_are_refused(config, changes, message):
    assert refused(config, *changes).startswith(message)


SUITE = "evaluations.heldout"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tokenizers.testset", "flore", "tokenizers.testset: no block of this name under testsets"),
        ("tokenizers.parity_language", "fr", "tokenizers.parity_language: not a language of the test set"),
        ("choices.testsets", ["exam", "exams"], "choices.testsets[1]: no block of this name under testsets"),
        ("choices.testsets", ["opus"], "choices.testsets[0]: a test set of another kind"),
        ("choices.prompt", "Answer:", "choices.prompt: nothing of the item is in it"),
        ("translation.prompt", "{source_language}:", "translation.prompt: nothing of the item is in it"),
        ("translation.directions.0.testset", "exam", "translation.directions[0].testset: a test set of another kind"),
        ("translation.directions.0.target", "fr", "translation.directions[0].target: not a language of the test set"),
        ("translation.directions.0.target", "es", "translation.directions[0]: translates a language into itself"),
        ("generation.testset", "exam", "generation.testset: a test set of another kind"),
        ("perplexity.reference_tokenizer", "owl", "perplexity.reference_tokenizer: no block of this name under tokenizers"),
    ],
)
def test_suites_that_are_refused(config, path, value, message):
    assert refused(config, (f"{SUITE}.{path}", value)).startswith(f"{SUITE}.{message}")


def test_the_nearest_test_set_of_the_kind(config):
    config["testsets"]["exams2"] = {**TESTSETS["opus"]}
    assert "did you mean 'exam'?" in refused(config, (f"{SUITE}.choices.testsets", ["exams"]))


def test_criteria(config):
    criterion = {"name": "x", "suite": "choices", "metric": "accuracy"}
    place = f"{SUITE}.comparison"
    for limits in ({}, {"relative_loss": 0.1, "absolute_loss": 0.1}):
        text = refused(config, (place, {"criteria": [{**criterion, **limits}]}))
        assert text.startswith(f"{place}.criteria[0]: needs exactly one limit")
    text = refused(config, (place, {"criteria": [{**criterion, "suite": "tasks", "absolute_loss": 0.1}]}))
    assert text.startswith(f"{place}.criteria[0].suite: the evaluation does not have it")
    config["evaluations"]["heldout"]["choices"]["checkpoints"] = ["adapted"]
    text = refused(config, (place, {"criteria": [{**criterion, "absolute_loss": 0.1}]}))
    assert "choices does not measure both" in text and "add source to evaluations.heldout.choices.checkpoints" in text


def test_a_direction_is_translated_once(config):
    directions = config["evaluations"]["heldout"]["translation"]["directions"]
    assert "translation.directions" in refused(config, (f"{SUITE}.translation.directions", [*directions, *directions]))


@pytest.mark.parametrize("name", ["source", "initialized"])
def test_no_stage_has_the_name_of_a_model_before_training(config, name):
    assert "before training" in refused(config, ("recipes.short.stages.0.name", name))


def test_files_of_test_sets_and_suites(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("model", "tokenizer", "corpus"):
        (tmp_path / folder).mkdir()
    names = ["corpus/en.jsonl", "corpus/de.jsonl", "corpus/ru.jsonl", "exam.jsonl", "stories.jsonl", "flores.es", "flores.en"]
    for name in names:
        (tmp_path / name).touch()
    check_files(validate(config))
    for path, value, message in [
        ("testsets.exam.files", ["exams.jsonl"], "testsets.exam.files: no such file"),
        ("testsets.flores.text_files.es", "flores.spa", "testsets.flores.text_files.es: no such file"),
        ("testsets.flores.text_files.es", "flores.*", "testsets.flores.text_files.es: a pattern"),
        (f"{SUITE}.tasks", {"names": ["x"], "include": "none"}, f"{SUITE}.tasks.include: no such folder"),
        (f"{SUITE}.comparison", {"merge": ["none"]}, f"{SUITE}.comparison.merge[0]: no such folder"),
        (f"{SUITE}.comparison", {"references": ["none.csv"]}, f"{SUITE}.comparison.references: no such file"),
    ]:
        changed = copy.deepcopy(config)
        put(changed, path, value)
        with pytest.raises(ConfigurationError) as caught:
            check_files(validate(changed))
        assert str(caught.value).startswith(message)
