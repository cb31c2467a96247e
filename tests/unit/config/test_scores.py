"""The block that asks for scores of alignments."""

from __future__ import annotations

import copy

import pytest
from support.project import CONFIG
from tokalign.common.errors import ConfigurationError
from tokalign.config.validation import check_files, validate

PLACE = "evaluations.heldout.alignment"


def scored(block):
    config = copy.deepcopy(CONFIG)
    config["evaluations"]["heldout"]["alignment"] = block
    return config


def test_it_is_optional_and_has_defaults():
    assert "alignment" not in validate(copy.deepcopy(CONFIG))["evaluations"]["heldout"]
    filled = validate(scored({"embedder": {"folder": "e"}}))["evaluations"]["heldout"]["alignment"]
    assert filled == {
        "embedder": {"folder": "e"}, "segment_words": 32, "pairs": 1000, "seed": 1, "layer": None, "batch_tokens": 4096,
    }  # fmt: skip
    assert "embedder" not in validate(scored({}))["evaluations"]["heldout"]["alignment"]


@pytest.mark.parametrize(
    ("embedder", "text"),
    [
        ({}, "needs exactly one origin\n  found:    none\n  expected: one of folder, wheel, hub"),
        ({"folder": "a", "hub": "b/c", "revision": "d"}, "needs exactly one origin"),
        ({"gguf": "a"}, "needs exactly one origin"),
        ({"train": {"corpus": "tiny", "vocabulary_size": 300}}, "needs exactly one origin"),
        ({"folder": "a", "sha256": "0" * 64}, ".sha256: does not belong to 'folder'"),
        ({"hub": "a/b"}, ".revision: missing key"),
    ],
)
def test_an_embedder_has_one_origin(embedder, text):
    with pytest.raises(ConfigurationError) as caught:
        validate(scored({"embedder": embedder}))
    assert str(caught.value).startswith(f"{PLACE}.embedder")
    assert text in str(caught.value)


def test_a_missing_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("en", "de", "ru"):
        (tmp_path / "corpus").mkdir(exist_ok=True)
        (tmp_path / f"corpus/{name}.jsonl").touch()
    for name in ("model", "tokenizer"):
        (tmp_path / name).mkdir()
    filled = validate(scored({"embedder": {"folder": "e"}}))
    with pytest.raises(ConfigurationError, match=rf"{PLACE}\.embedder\.folder: no such folder"):
        check_files(filled)
    (tmp_path / "e").mkdir()
    check_files(filled)
