"""Blocks of vectors in the configuration: the three methods."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from support.project import CONFIG
from tokalign.common.errors import ConfigurationError
from tokalign.config.validation import check_files, validate
from tokalign.config.vectors import CountSettings, FastTextSettings, GloveSettings


@pytest.fixture
def config() -> dict[str, Any]:
    return copy.deepcopy(CONFIG)


def test_defaults_are_the_settings_of_the_library(config):
    block = validate(config)["vectors"]["glove"]
    assert block["method"] == "glove"
    for key, kind in (("count", CountSettings), ("glove", GloveSettings), ("fasttext", FastTextSettings)):
        assert set(block[key]) == {*kind.model_fields}
    assert block["glove"]["early_stop"] is None
    chosen = (block["fasttext"][key] for key in ("dimensions", "learning_rate", "epochs", "window", "negatives", "min_count"))
    assert tuple(chosen) == (300, 0.05, 5, 5, 5, 5)
    assert (block["fasttext"]["max_ngram"], block["fasttext"]["threads"]) == (0, 1)


def test_imported_vectors_need_files(config):
    config["vectors"]["glove"] = {"method": "imported"}
    with pytest.raises(ConfigurationError, match=r"^vectors\.glove\.imported: missing key"):
        validate(config)
    config["vectors"]["glove"]["imported"] = {}
    with pytest.raises(ConfigurationError, match=r"^vectors\.glove\.imported\.files: missing key"):
        validate(config)
    config["vectors"]["glove"]["imported"]["files"] = {"ownn": "own.txt"}
    with pytest.raises(ConfigurationError, match=r"(?s)^vectors\.glove\.imported\.files\.ownn: no block of this.*mean 'own'"):
        validate(config)


def test_imported_vectors_of_both_tokenizers_are_there(config):
    """For each experiment whose alignment reads them, as its own or as a baseline; not for other blocks."""
    config["vectors"]["published"] = {"method": "imported", "imported": {"files": {"own": "own.txt"}}}
    validate(config)
    config["alignments"]["tokalign"]["vectors"] = "published"
    expected = (
        "vectors.published.imported.files.new: missing key\n"
        "  found:    files for own\n"
        "  expected: vectors of this tokenizer, which alignment 'tokalign' reads for experiments[0]\n"
        "  to mend:  add `new: PATH`, or name another vectors block in the alignment"
    )
    for roles in ({"alignment": "tokalign", "baselines": []}, {"alignment": "random", "baselines": ["tokalign"]}):
        config["experiments"][0] |= roles
        with pytest.raises(ConfigurationError) as error:
            validate(config)
        assert str(error.value) == expected
    config["vectors"]["published"]["imported"]["files"] = {"new": "new.txt"}
    with pytest.raises(ConfigurationError, match=r"^vectors\.published\.imported\.files\.own: missing key"):
        validate(config)
    config["vectors"]["published"]["imported"]["files"]["own"] = "own.txt"
    validate(config)


def test_imported_files_exist(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model", "tokenizer", "corpus"):
        (tmp_path / name).mkdir()
    for name in ("en", "de", "ru"):
        (tmp_path / f"corpus/{name}.jsonl").touch()
    config["vectors"]["glove"] = {"method": "imported", "imported": {"files": {"own": "own.txt", "new": "own.txt"}}}
    with pytest.raises(ConfigurationError, match=r"(?s)^vectors\.glove\.imported\.files\.own: no such file.*own\.txt"):
        check_files(validate(config))
    (tmp_path / "own.txt").touch()
    check_files(validate(config))


@pytest.mark.parametrize("value", [0, 1, -0.1, "1 %"])
def test_early_stop_is_a_share(config, value):
    config["vectors"]["glove"]["glove"]["early_stop"] = value
    with pytest.raises(ConfigurationError, match=r"^vectors\.glove\.glove\.early_stop: "):
        validate(config)
