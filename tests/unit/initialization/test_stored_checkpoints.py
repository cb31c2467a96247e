"""Checkpoints in all forms that a model can be stored in, and damaged ones, are initialized or refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.models import (
    LLAMA,
    SMALL,
    initialized,
    make,
    mixture,
    settings,
    stored,
    tensors,
)
from tokalign.common.errors import ArtifactError, InputError
from tokalign.initialization.initialize import initialize
from tokalign.models.loading import embeddings, load_model
from transformers import LlamaConfig, LlamaModel


def resave(folder: Path, change) -> Path:
    """Rewrite the weights of a saved checkpoint."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_tied_matrix_that_is_stored_twice(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    once = tensors(initialized(tmp_path, tmp_path / "source", stored(mixture(50))))
    resave(tmp_path / "source", lambda weights: weights.update({"lm_head.weight": weights[LLAMA].clone()}))
    (tmp_path / "twice").mkdir()
    out = initialized(tmp_path / "twice", tmp_path / "source", stored(mixture(50)))
    assert tensors(out).keys() == once.keys()
    assert torch.equal(tensors(out)[LLAMA], once[LLAMA])
    (tmp_path / "both").mkdir()
    out = initialized(tmp_path / "both", tmp_path / "source", stored(mixture(50)), settings(untie=True))
    assert torch.equal(tensors(out)["lm_head.weight"], once[LLAMA])


def test_tied_matrix_that_is_stored_as_the_head_only(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    resave(tmp_path / "source", lambda weights: weights.update({"lm_head.weight": weights.pop(LLAMA)}))
    out = initialized(tmp_path, tmp_path / "source", stored(mixture(50)))
    assert LLAMA not in tensors(out)
    assert embeddings(load_model(out))[2]
    (tmp_path / "both").mkdir()
    two = tensors(initialized(tmp_path / "both", tmp_path / "source", stored(mixture(50)), settings(untie=True)))
    assert torch.equal(two[LLAMA], two["lm_head.weight"])


def test_two_different_matrices_under_a_tied_configuration_stay_apart(tmp_path, caplog):
    make("llama, tied").save_pretrained(tmp_path / "source")
    resave(tmp_path / "source", lambda weights: weights.update({"lm_head.weight": weights[LLAMA] * 2}))
    with caplog.at_level(logging.WARNING):
        out = initialized(tmp_path, tmp_path / "source", stored(mixture(50)))
    assert "two different ones are stored" in caplog.text
    made = load_model(out)
    assert not made.config.tie_word_embeddings
    torch.testing.assert_close(made.lm_head.weight, 2 * made.model.embed_tokens.weight)


def test_keys_without_the_prefix_of_the_base_model(tmp_path):
    """A checkpoint that was saved from the base model."""
    make("llama, tied").save_pretrained(tmp_path / "source")
    wanted = tensors(initialized(tmp_path, tmp_path / "source", stored(mixture(50))))

    def strip(weights):
        for key in list(weights):
            weights[key.removeprefix("model.")] = weights.pop(key)

    resave(tmp_path / "source", strip)
    (tmp_path / "bare").mkdir()
    out = initialized(tmp_path / "bare", tmp_path / "source", stored(mixture(50)))
    assert {f"model.{key}" for key in tensors(out)} == wanted.keys()
    assert torch.equal(load_model(out).model.embed_tokens.weight, wanted[LLAMA])


def test_spare_copy_in_a_file_of_its_own(tmp_path):
    """The file and its line in the index are left out."""
    make("llama, tied").save_pretrained(tmp_path / "source", max_shard_size="3KB")
    index = json.loads((tmp_path / "source/model.safetensors.index.json").read_text())
    save_file({"lm_head.weight": tensors(tmp_path / "source")[LLAMA]}, tmp_path / "source/spare.safetensors", {"format": "pt"})
    index["weight_map"]["lm_head.weight"] = "spare.safetensors"
    (tmp_path / "source/model.safetensors.index.json").write_text(json.dumps(index))
    out = initialized(tmp_path, tmp_path / "source", stored(mixture(50)))
    assert not (out / "spare.safetensors").exists()
    assert "lm_head.weight" not in json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert embeddings(load_model(out))[2]


def test_tensors_at_odd_places_of_a_file(tmp_path):
    """A header of odd length, which the safetensors library does not write but reads."""
    make("llama, tied").save_pretrained(tmp_path / "source")
    wanted = tensors(initialized(tmp_path, tmp_path / "source", stored(mixture(50))))
    file = tmp_path / "source/model.safetensors"
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    file.write_bytes((length + 1).to_bytes(8, "little") + whole[8 : 8 + length] + b" " + whole[8 + length :])
    (tmp_path / "odd").mkdir()
    made = tensors(initialized(tmp_path / "odd", tmp_path / "source", stored(mixture(50))))
    assert made.keys() == wanted.keys()
    assert all(torch.equal(made[key], wanted[key]) for key in wanted)


def test_tensors_that_the_model_does_not_know_are_kept(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.arange(4), "scales": torch.ones(3, dtype=torch.float16)}
    resave(tmp_path / "source", lambda weights: weights.update(extra))
    made = tensors(initialized(tmp_path, tmp_path / "source", stored(mixture(50))))
    assert all(torch.equal(made[key], value) and made[key].dtype == value.dtype for key, value in extra.items())


def test_model_with_code_of_its_own(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    (tmp_path / "source/own_code.py").write_text(
        "from transformers import LlamaForCausalLM\n\nclass OwnModel(LlamaForCausalLM):\n    pass\n"
    )
    config = json.loads((tmp_path / "source/config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "own_code.OwnModel"}
    (tmp_path / "source/config.json").write_text(json.dumps(config))
    (tmp_path / "out").mkdir()
    initialize(tmp_path / "source", tmp_path / "out", stored(mixture(50)), None, {"eos": 1}, settings(), trust_remote_code=True)
    assert (tmp_path / "out/own_code.py").read_bytes() == (tmp_path / "source/own_code.py").read_bytes()
    made = load_model(tmp_path / "out", trust_remote_code=True)
    assert type(made).__name__ == "OwnModel"
    assert made.config.vocab_size == 50


# -------------------------------------------------------------------------------------------------------------- errors


def test_model_with_fewer_rows_than_the_alignment_has_source_tokens(tmp_path):
    with pytest.raises(InputError, match=r"(?s)do not fit\n  found:    40 embedding rows\n  expected: at least the 41 ids"):
        initialized(tmp_path, make("llama, tied"), stored(np.ones((5, 41)) / 41))


def test_row_that_is_not_finite_is_named(tmp_path):
    """Rows of 1e5 are infinite in float16."""
    model, dense = make("llama, tied"), mixture(50)
    dense[33] = 0
    dense[33, 5] = 1e6
    with pytest.raises(ArtifactError, match=r"model\.safetensors: model\.embed_tokens\.weight: the new row of token 33 is not"):
        initialized(tmp_path, model.to(torch.float16), stored(dense))


def test_model_without_lm_head():
    with pytest.raises(InputError, match="LlamaModel: get_output_embeddings"):
        embeddings(LlamaModel(LlamaConfig(**SMALL)))


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(ArtifactError, match="not a loadable causal language model"):
        load_model(tmp_path)
    make("llama, tied").save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    pickled = tmp_path / "pytorch_model.bin"
    torch.save({}, pickled)
    weights.unlink()
    with pytest.raises(ArtifactError, match="not a loadable causal language model"):
        load_model(tmp_path)  # never unpickled


@pytest.mark.parametrize("length", [0, 5, 4000])
def test_truncated_weights(tmp_path: Path, length):
    make("llama, tied").save_pretrained(tmp_path / "source")
    weights = tmp_path / "source/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(ArtifactError, match="not a loadable causal language model"):
        load_model(tmp_path / "source")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        initialized(tmp_path, tmp_path / "source", stored(mixture(50)))


@pytest.mark.parametrize(
    ("name", "key"),
    [("llama, untied", "lm_head.weight"), ("llama, tied", LLAMA), ("phi, LM head with bias", "lm_head.bias")],
)
def test_missing_weights(tmp_path: Path, name, key):
    """A checkpoint that lacks a matrix must not get a random one in its place."""
    make(name).save_pretrained(tmp_path / "source")
    resave(tmp_path / "source", lambda weights: weights.pop(key))
    with pytest.raises(ArtifactError, match=r"weights are missing[\s\S]*" + key.split(".")[-2]):
        load_model(tmp_path / "source")
    with pytest.raises(ArtifactError, match=f"source: the weights lack [\\s\\S]*{key}"):
        initialized(tmp_path, tmp_path / "source", stored(mixture(50)))


def test_embedding_of_another_shape_than_the_configuration_says(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    resave(tmp_path / "source", lambda weights: weights.update({LLAMA: weights[LLAMA][:39].clone()}))
    with pytest.raises(
        ArtifactError, match=r"model\.embed_tokens\.weight \[39, 16\]\n  expected: one tensor of shape \[40, 16\]"
    ):
        initialized(tmp_path, tmp_path / "source", stored(mixture(50)))


def test_embedding_in_integers(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source")
    resave(tmp_path / "source", lambda weights: weights.update({LLAMA: weights[LLAMA].to(torch.int8)}))
    with pytest.raises(
        ArtifactError, match=r"model\.embed_tokens\.weight is not an embedding that can be combined\n  found:    I8"
    ):
        initialized(tmp_path, tmp_path / "source", stored(mixture(50)))


def test_folder_without_configuration(tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(ArtifactError, match=r"config\.json: describes no causal language model"):
        initialized(tmp_path, tmp_path / "source", stored(mixture(50)))


def test_dtype_of_the_checkpoint_is_kept(tmp_path):
    make("llama, tied").to(torch.bfloat16).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert load_model(tmp_path).dtype == torch.bfloat16
    assert load_model(tmp_path, dtype=torch.float32).dtype == torch.float32
