"""Paths under results/: from names to a path and back, and none of them twice."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan import paths
from support.names import Names
from support.project import ROOT

PATTERNS = {name: value for name, value in vars(paths).items() if isinstance(value, paths.Pattern)}
VALUES = {
    "seed": "3", "block": "512", "shard": "train-00001", "kind": "model", "format": "csv", "wheel": "some-model==1.0", "suite": "tasks",
    "checkpoint": "adapted/m--t/c/a/r/s1/stage2", "table": "results", "figure": "loss",
}  # fmt: skip
NAMES = st.from_regex(r"\A[A-Za-z0-9](?:[A-Za-z0-9._]|-(?!-)){0,6}\Z").filter(lambda name: not name.endswith("-"))


@pytest.mark.parametrize("name", PATTERNS)
def test_back_to_the_names(name: str):
    pattern = PATTERNS[name]
    names = {wildcard: VALUES.get(wildcard, f"{wildcard}.x-1") for wildcard in pattern.wildcards}
    assert pattern.names(pattern.of(names)) == names
    assert pattern.of(Names(**names)) == pattern.of(names)
    assert not pattern.matches(pattern.of(names) + "/more")


@given(model=NAMES, tokenizer=NAMES, corpus=NAMES, alignment=NAMES)
def test_names_with_hyphens_and_dots_are_told_apart(model, tokenizer, corpus, alignment):
    names = {"model": model, "tokenizer": tokenizer, "corpus": corpus, "alignment": alignment}
    assert paths.INITIALIZED.names(paths.INITIALIZED.of(names)) == names


def test_a_missing_name_is_an_error():
    with pytest.raises(KeyError, match="tokenizer"):
        paths.TOKENS.of(corpus="c", shard="validation")


def test_a_part_of_the_names():
    some = paths.TOKENS.where(shard="validation", tokenizer="{target_tokenizer}")
    assert some == "results/tokens/{corpus}/{target_tokenizer}/validation.arrow"
    assert some.of(corpus="c", target_tokenizer="t") == "results/tokens/c/t/validation.arrow"


def test_logs_are_told_apart_by_the_names():
    assert paths.log("train_glove_vectors", paths.VECTORS) == "logs/train_glove_vectors/{corpus}/{tokenizer}/{vectors}.log"
    assert paths.log("tokenize_shard", paths.TOKENS) == "logs/tokenize_shard/{corpus}/{tokenizer}/{shard}.log"
    assert paths.log("compare_models", paths.COMPARISON) == "logs/compare_models/{evaluation}.log"
    some = paths.SUITE_RESULT.where(suite="choices")
    assert paths.benchmark("answer_choices", some) == "logs/benchmarks/answer_choices/{evaluation}/{checkpoint}.tsv"
    adapted = "logs/train_stage/{model}--{tokenizer}/{corpus}/{alignment}/{recipe}/s{seed}/{stage}.log"
    assert paths.log("train_stage", paths.ADAPTED) == adapted


@pytest.mark.parametrize(
    ("checkpoint", "names"),
    [
        ("models/m/hf", {"model": "m", "stage": "source"}),
        ("initialized/m--t/c/a", {"model": "m", "tokenizer": "t", "corpus": "c", "alignment": "a", "stage": "initialized"}),
        ("adapted/m-1--t/c/a/r/s12/warm-up", {
            "model": "m-1", "tokenizer": "t", "corpus": "c", "alignment": "a", "recipe": "r", "seed": 12, "stage": "warm-up",
        }),
    ],
)  # fmt: skip
def test_names_of_a_checkpoint(checkpoint: str, names: dict):
    assert paths.checkpoint_names(checkpoint) == names
    assert re.fullmatch(paths.WILDCARDS["checkpoint"], checkpoint)
    assert paths.checkpoint_of(f"results/{checkpoint}") == checkpoint


@pytest.mark.parametrize("path", ["models/m/info.json", "initialized/m--t/c", "adapted/m--t/c/a/r/sx/stage1", "adapted/m/t"])
def test_what_is_no_checkpoint(path: str):
    assert not re.fullmatch(paths.WILDCARDS["checkpoint"], path)
    with pytest.raises(ValueError, match="not a path of the form"):
        paths.checkpoint_names(path)


def test_every_wildcard_has_a_constraint():
    assert {wildcard for pattern in PATTERNS.values() for wildcard in pattern.wildcards} <= set(paths.WILDCARDS)


def test_paths_under_results_are_written_once():
    """In the rules and the plan; what people read (docs, messages) may name them."""
    places = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk"), *(ROOT / "workflow/scripts/plan").glob("*.py")]
    for place in places:
        if place.name != "paths.py":
            for line in place.read_text(encoding="utf-8").splitlines():
                assert "results/" not in re.sub(r"#.*|\"\"\".*", "", line).replace("below results/", ""), f"{place}: {line}"
    values = list(PATTERNS.values())
    assert len(set(values)) == len(values)
