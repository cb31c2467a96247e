"""Initialized checkpoints: their tensors against A @ E and against transformers, for several architectures."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from support.models import (
    CONFIGS,
    IDS,
    LLAMA,
    ROLES,
    ROWS,
    SMALL,
    initialized,
    logits,
    make,
    mixture,
    settings,
    stored,
    tensors,
)
from tokalign.models.configuration import set_special_ids
from tokalign.models.loading import embeddings, load_model
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig


def in_memory(source: Path, dense: np.ndarray, roles: dict[str, int], out: Path, shard: str) -> None:
    """Initialize with the whole model in memory, by the means of transformers, and save it."""
    model = load_model(source)
    matrix = sparse.csr_matrix(dense.astype(np.float32))
    first, last, tied = embeddings(model)
    parts = [first.weight, *([] if tied else [last.weight]), *([] if getattr(last, "bias", None) is None else [last.bias])]
    made = [torch.from_numpy(matrix @ part.detach()[:IDS].float().numpy()).to(part.dtype) for part in parts]
    model.resize_token_embeddings(len(dense), mean_resizing=False)
    first, last, _ = embeddings(model)
    parts = [first.weight, *([] if tied else [last.weight]), *([] if getattr(last, "bias", None) is None else [last.bias])]
    with torch.no_grad():
        for part, rows in zip(parts, made, strict=True):
            part.copy_(rows)
    set_special_ids(model.config, model.generation_config, roles)
    model.save_pretrained(out, max_shard_size=shard)


@pytest.mark.parametrize("shard", ["5GB", "3KB"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_same_tensors_as_with_the_model_in_memory(tmp_path, name, dtype, shard):
    """Same keys, types and bytes; of a checkpoint in one file, all files are the same."""
    make(name, dtype).save_pretrained(tmp_path / "source", max_shard_size=shard)
    out = initialized(tmp_path, tmp_path / "source", stored(mixture(50)), roles=ROLES)
    in_memory(tmp_path / "source", mixture(50), ROLES, tmp_path / "reference", shard)
    made, wanted = tensors(out), tensors(tmp_path / "reference")
    assert made.keys() == wanted.keys()
    for key in wanted:
        assert made[key].dtype == wanted[key].dtype
        assert torch.equal(made[key], wanted[key]), key
    if shard == "5GB":
        files = sorted(file.name for file in (tmp_path / "reference").iterdir())
        assert sorted(file.name for file in out.iterdir()) == files
        assert all((out / file).read_bytes() == (tmp_path / "reference" / file).read_bytes() for file in files)
    else:
        index = json.loads((out / "model.safetensors.index.json").read_text())
        assert index["weight_map"].keys() == made.keys()
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in made.values())
        assert index["metadata"]["total_parameters"] == sum(tensor.numel() for tensor in made.values())


@pytest.mark.parametrize("size", [12, 37, 75])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_and_logits_are_those_of_the_product(tmp_path, name, size):
    """A token that is a source token is read as that token, and every logit is the mixture of the source's logits."""
    model, dense = make(name), mixture(size)
    first, last = (
        m.weight.detach().double().numpy().copy() for m in (model.get_input_embeddings(), model.get_output_embeddings())
    )
    texts = [[0, 3, 9, 9, 2], [7, 1, 8, 4, 6, 5]]
    before = [logits(model, [int(dense[i].argmax()) for i in ids]) for ids in texts]
    again = load_model(initialized(tmp_path, model, stored(dense))).eval()
    assert again.config.vocab_size == size
    np.testing.assert_allclose(again.get_input_embeddings().weight.detach().numpy(), dense @ first[:IDS], atol=1e-6)
    np.testing.assert_allclose(again.get_output_embeddings().weight.detach().numpy(), dense @ last[:IDS], atol=1e-6)
    linear = getattr(again.config, "final_logit_softcapping", None) is None
    for ids, expected in zip(texts, before, strict=True):
        if linear:
            np.testing.assert_allclose(logits(again, ids), expected[:, :IDS] @ dense.T, atol=2e-5)
        else:
            np.testing.assert_allclose(logits(again, ids)[:, :10], (expected[:, :IDS] @ dense.T)[:, :10], atol=2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_loads_with_nothing_missing_and_nothing_else_changed(tmp_path, name):
    model, tied = make(name), name.endswith(" tied")
    inner = {key: value for key, value in model.state_dict().items() if ROWS not in value.shape}
    assert len(inner) > 10
    out = initialized(tmp_path, model, stored(mixture(50)), roles=ROLES | {"pad": 3})
    again, found = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(map(len, (found["missing_keys"], found["unexpected_keys"], found["mismatched_keys"])))
    assert embeddings(again)[2] == again.config.tie_word_embeddings == tied
    for config in (again.config, again.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (2, 1, 3)
    after = {key: value for key, value in again.state_dict().items() if 50 not in value.shape}
    assert after.keys() == inner.keys()
    assert all(torch.equal(after[key], inner[key]) for key in inner)


def test_computed_in_float32_and_kept_in_the_dtype_of_the_model(tmp_path):
    model, dense = make("llama, tied", torch.bfloat16), mixture(50)
    rows = model.get_input_embeddings().weight.detach()[:IDS].float()
    made = tensors(initialized(tmp_path, model, stored(dense)))[LLAMA]
    assert made.dtype == torch.bfloat16
    exact = (torch.from_numpy(dense) @ rows.double()).to(torch.bfloat16)
    assert (made == exact).float().mean() > 0.99  # sums of bfloat16 numbers would be right in some 70 % only


# -------------------------------------------------------------------------------------------------- one or two matrices


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.endswith(" tied")])
def test_untied(tmp_path, name):
    """Two matrices of the same source rows, each with its own weights."""
    model, first, last = make(name), mixture(50), mixture(50, seed=2)
    rows = model.get_input_embeddings().weight.detach().double().numpy()[:IDS]
    out = initialized(tmp_path, model, stored(first, last), settings(untie=True))
    again, found = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(map(len, (found["missing_keys"], found["unexpected_keys"], found["mismatched_keys"])))
    assert not again.config.tie_word_embeddings and not embeddings(again)[2]
    np.testing.assert_allclose(again.get_input_embeddings().weight.detach().numpy(), first @ rows, atol=1e-6)
    np.testing.assert_allclose(again.get_output_embeddings().weight.detach().numpy(), last @ rows, atol=1e-6)
    again.save_pretrained(tmp_path / "again")
    names = {"model.safetensors", "config.json"}
    assert all((tmp_path / "again" / file).read_bytes() == (out / file).read_bytes() for file in names)


def test_untied_checkpoint_of_several_files(tmp_path):
    make("llama, tied").save_pretrained(tmp_path / "source", max_shard_size="3KB")
    out = initialized(tmp_path, tmp_path / "source", stored(mixture(50)), settings(untie=True))
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["weight_map"]["lm_head.weight"] == index["weight_map"][LLAMA]
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors(out).values())
    assert torch.equal(tensors(out)["lm_head.weight"], tensors(out)[LLAMA])
    assert not embeddings(load_model(out))[2]


def test_head_has_weights_of_its_own_in_an_untied_model(tmp_path):
    first, last = mixture(50), mixture(50, seed=2)
    model = make("phi, LM head with bias")
    rows = [part.detach().double().numpy()[:IDS] for part in (model.get_output_embeddings().weight, model.lm_head.bias)]
    made = tensors(initialized(tmp_path, model, stored(first, last)))
    np.testing.assert_allclose(made["lm_head.weight"], last @ rows[0], atol=1e-6)
    np.testing.assert_allclose(made["lm_head.bias"], last @ rows[1], atol=1e-6)


@pytest.mark.parametrize("which", ["input", "output", "mean"])
def test_one_matrix_for_two_kinds_of_weights(tmp_path, which):
    first, last = mixture(50), mixture(50, seed=2)
    wanted = {"input": first, "output": last, "mean": (first + last) / 2}[which]
    model = make("llama, tied")
    rows = model.get_input_embeddings().weight.detach().double().numpy()[:IDS]
    made = tensors(initialized(tmp_path, model, stored(first, last), settings(tied_rows=which)))
    np.testing.assert_allclose(made[LLAMA], wanted @ rows, atol=1e-6)
    assert "lm_head.weight" not in made


# ------------------------------------------------------------------------------------------------------- configuration


def test_special_ids(tmp_path):
    """Ids of the old tokenizer are gone from the configuration and from generation, also where the new one has none."""
    model = make("llama, tied")
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id, config.pad_token_id = 31, 32, 33
    made = load_model(initialized(tmp_path, model, stored(mixture(50)), roles={"eos": 1}))
    assert (made.config.bos_token_id, made.config.eos_token_id, made.config.pad_token_id) == (None, 1, None)
    generation = made.generation_config
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (None, 1, 1)


def test_generation_ends_at_the_end_of_a_turn_too():
    config, generation = LlamaConfig(**SMALL), GenerationConfig()
    set_special_ids(config, generation, {"eos": 1, "turn_end": 6, "pad": 2})
    assert generation.eos_token_id == [1, 6]
    assert generation.pad_token_id == 2
    assert config.eos_token_id == 1
    set_special_ids(config, generation, {"eos": 6, "turn_end": 6})
    assert generation.eos_token_id == 6


def test_generation_settings_are_kept_but_those_with_ids_of_the_old_tokenizer(tmp_path, caplog):
    model = make("llama, tied")
    model.generation_config.suppress_tokens = [39]
    model.generation_config.forced_bos_token_id = 38
    model.generation_config.max_length = 77
    with caplog.at_level(logging.WARNING):
        made = load_model(initialized(tmp_path, model, stored(mixture(50))))
    assert made.generation_config.suppress_tokens is None
    assert made.generation_config.forced_bos_token_id is None
    assert made.generation_config.max_length == 77
    assert "suppress_tokens named ids of the old tokenizer" in caplog.text


def test_dtype_is_recorded_where_the_configuration_has_none(tmp_path):
    make("llama, tied", torch.bfloat16).save_pretrained(tmp_path / "source")
    config = json.loads((tmp_path / "source/config.json").read_text())
    assert config.pop("dtype") == "bfloat16"
    (tmp_path / "source/config.json").write_text(json.dumps(config))
    out = initialized(tmp_path, tmp_path / "source", stored(mixture(50)))
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
