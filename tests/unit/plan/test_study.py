"""What a configuration asks for, as files: with names, numbers and seeds worked out by hand."""

from __future__ import annotations

import copy
import re

import pytest
from plan import paths
from plan.evaluations import Evaluations
from plan.study import Study
from support.names import Names
from support.project import CONFIG
from tokalign.common.errors import ConfigurationError
from tokalign.config.validation import validate


def study(**changes) -> Study:
    """Return the study of the tiny project with some sections of its configuration changed."""
    config = copy.deepcopy(CONFIG)
    for section, value in changes.items():
        config[section] = value if isinstance(value, list) else config.get(section, {}) | value
    return Study(validate(config))


NAMES = Names(model="llama", tokenizer="new", corpus="tiny", alignment="tokalign", recipe="short", stage="stage2", seed="1")
ADAPTED = "results/adapted/llama--new/tiny/tokalign/short/s1"


def test_what_is_asked_for():
    tiny = study()
    assert tiny.adapted_models() == [f"{ADAPTED}/stage2"]
    assert tiny.stage_models() == [f"{ADAPTED}/stage1", f"{ADAPTED}/stage2"]
    assert tiny.initialized_models() == [f"results/initialized/llama--new/tiny/{name}" for name in ("random", "tokalign")]
    assert tiny.alignment_reports() == [f"results/alignments/tiny/own--new/{name}/report.json" for name in ("random", "tokalign")]
    assert tiny.fetched_files() == []


def test_seeds_share_all_but_their_trainings():
    (experiment,) = CONFIG["experiments"]
    several = study(experiments=[{**experiment, "seeds": [1, 2, 3]}])
    assert len(several.adapted_models()) == 3
    assert len(several.initialized_models()) == 2


def test_vectors_are_read_by_methods_that_compare_them():
    assert study().vectors("tiny", "new", "tokalign") == ["results/vectors/tiny/new/glove/vectors.safetensors"]
    assert study().vectors("tiny", "new", "random") == []


def test_a_stage_begins_where_the_one_before_ended():
    tiny = study()
    assert tiny.stage_start(NAMES) == f"{ADAPTED}/stage1"
    first = Names(**{**NAMES, "stage": "stage1"})
    assert tiny.stage_start(first) == "results/initialized/llama--new/tiny/tokalign"
    # Six steps of 128 tokens in sequences of 32 tokens.
    assert tiny.used_sequences(first) == (0, 0)
    assert tiny.used_sequences(NAMES) == (24, 0)


def test_sequences_of_a_mixture_are_counted_apart():
    stages = copy.deepcopy(CONFIG["recipes"]["short"]["stages"])
    for stage in stages:
        stage["mixture"] = {"corpus": "other", "share": 0.25}
    tiny = study(recipes={"short": {"block": 32, "stages": stages}}, corpora={"other": CONFIG["corpora"]["tiny"]})
    assert tiny.used_sequences(NAMES) == (18, 6)
    assert tiny.mixed_blocks(NAMES) == ["results/packed/other/new/32/blocks.arrow"]


def test_what_the_network_brings():
    hub = {"hub": "owner/name", "revision": "main"}
    tiny = study(
        models={"llama": {"source": hub, "tokenizer": "own"}},
        tokenizers={"own": {"source": {"wheel": "w==1", "sha256": "0" * 64, "file": "x"}}},
        corpora={"tiny": {"sources": {"web": {**hub, "max_bytes": 5000}, "own": {"files": ["a.jsonl"]}}}},
    )
    assert tiny.fetched_files() == [
        "results/fetched/hub/model/llama", "results/fetched/wheels/w==1", "results/fetched/datasets/tiny/web"
    ]  # fmt: skip


def test_corpora_of_trained_tokenizers_are_fetched_too():
    hub = {"sources": {"web": {"hub": "owner/name", "revision": "main"}}}
    train = {"source": {"train": {"corpus": "other", "vocabulary_size": 400}}, "special_tokens": {"eos": "<e>"}}
    tiny = study(tokenizers={"new": train}, corpora={"other": hub})
    assert tiny.fetched_files() == ["results/fetched/datasets/other/web"]


# ---- evaluations ----

EVERY = ["source", "baselines", "initialized", "stages", "adapted"]


def test_checkpoints_by_kind():
    tiny = study()
    measured = Evaluations(tiny)
    (run,) = tiny.runs
    every = measured.checkpoints(run, EVERY)
    assert every == [
        "models/llama/hf", "initialized/llama--new/tiny/random", "initialized/llama--new/tiny/tokalign",
        "adapted/llama--new/tiny/tokalign/short/s1/stage1", "adapted/llama--new/tiny/tokalign/short/s1/stage2",
    ]  # fmt: skip
    assert [measured.checkpoints(run, [kind]) for kind in EVERY] == [[path] for path in every]
    assert measured.tokenizer("models/llama/hf") == "results/tokenizers/own/hf"
    assert measured.tokenizer(every[-1]) == "results/tokenizers/new/hf"
    assert measured.reference_tokenizer("heldout", every[-1]) == "results/tokenizers/own/hf"


def test_everything_is_compared_with_the_source_model():
    entries = Evaluations(study()).comparison_entries("heldout")
    place = "results/evaluations/heldout"
    source = f"{place}/perplexity/models/llama/hf.json"
    found = {entry["path"].removeprefix(f"{place}/"): (entry["role"], entry["baseline"]) for entry in entries}
    assert found.pop("perplexity/models/llama/hf.json") == ("source", None)
    assert found.pop("tokenizers/new.json") == ("tokenizer", f"{place}/tokenizers/own.json")
    assert "tokenizers/own.json" not in found or found.pop("tokenizers/own.json") == ("tokenizer", None)
    assert {role for role, _ in found.values()} == {"initialized", "baseline", "stage", "adapted"}
    assert {baseline for _, baseline in found.values()} == {source}


@pytest.mark.parametrize("suite", ["choices", "translation", "generation", "tokenizers"])
def test_test_sets_of_suites(suite: str):
    files = {"files": ["a.jsonl"]}
    testsets = {
        "quiz": {**files, "kind": "choices", "fields": {"question": "q", "choices": "c", "answer": "a"}},
        "pairs": {**files, "kind": "parallel", "fields": {"en": "en", "de": "de"}},
        "starts": {**files, "kind": "prompts", "fields": {"text": "t"}},
    }
    blocks = {
        "choices": {"testsets": ["quiz"]},
        "translation": {"directions": [{"testset": "pairs", "source": a, "target": b} for a, b in (["de", "en"], ["en", "de"])]},
        "generation": {"testset": "starts"},
        "tokenizers": {"testset": "pairs", "parity_language": "en"},
    }
    names = {"choices": "quiz", "translation": "pairs", "generation": "starts", "tokenizers": "pairs"}
    heldout = CONFIG["evaluations"]["heldout"] | blocks
    measured = Evaluations(study(testsets=testsets, evaluations={"heldout": heldout}))
    assert measured.testset_items("heldout", suite) == [f"results/testsets/{names[suite]}/items.parquet"]
    assert measured.prompts("heldout") == "results/testsets/starts/items.parquet"
    assert Evaluations(study()).prompts("heldout") == paths.DOCUMENTS.of(evaluation="heldout")


def test_the_tokenizer_that_normalizes_perplexity_is_fetched_too():
    reference = {"source": {"hub": "owner/name", "revision": "main"}}
    heldout = CONFIG["evaluations"]["heldout"]
    heldout = heldout | {"perplexity": heldout["perplexity"] | {"reference_tokenizer": "reference"}}
    tiny = study(tokenizers={"reference": reference}, evaluations={"heldout": heldout})
    assert tiny.fetched_files() == ["results/fetched/hub/tokenizer/reference"]


def test_paths_have_only_names_of_the_configuration():
    constraints = study().constraints()
    assert set(constraints) == set(paths.WILDCARDS)
    assert re.fullmatch(constraints["target_tokenizer"], "new") and not re.fullmatch(constraints["target_tokenizer"], "newer")
    assert re.fullmatch(constraints["stage"], "stage2") and not re.fullmatch(constraints["testset"], "")  # there is none
    known = "adapted/llama--new/tiny/tokalign/short/s7/stage1"
    assert re.fullmatch(constraints["checkpoint"], known)
    assert not re.fullmatch(constraints["checkpoint"], known.replace("llama", "other"))


def test_a_suite_that_the_evaluation_does_not_include():
    with pytest.raises(ConfigurationError, match=r"evaluations\.heldout\.choices: .*\n.*add `choices:`"):
        Evaluations(study()).included("heldout", "choices")
