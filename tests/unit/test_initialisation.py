"""Initialised models: rows and logits against A @ E, for several architectures."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from tokalign.errors import ArtefactError, InputError
from tokalign.initialisation import combine, embeddings, initialise, load_model
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
)

ROWS, IDS = 40, 37
"""Rows of the models, of which the last three are padding that no token of the source has."""
SMALL = {"vocab_size": ROWS, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIGS = {
    "llama, tied": (LlamaForCausalLM, LlamaConfig(**SMALL, tie_word_embeddings=True)),
    "llama, untied": (LlamaForCausalLM, LlamaConfig(**SMALL, tie_word_embeddings=False)),
    "gpt_neox, untied": (GPTNeoXForCausalLM, GPTNeoXConfig(**SMALL, tie_word_embeddings=False)),
    "gpt2, tied": (GPT2LMHeadModel, GPT2Config(vocab_size=ROWS, n_embd=16, n_layer=2, n_head=2, n_positions=64)),
    "phi, LM head with bias": (PhiForCausalLM, PhiConfig(**SMALL, tie_word_embeddings=False)),
}
ROLES = {"eos": 1, "bos": 2, "unk": 4}


def make(name: str) -> PreTrainedModel:
    """Return a random model; its bias and its padding rows are no zeros."""
    torch.manual_seed(0)
    kind, config = CONFIGS[name]
    model = kind(kind.config_class.from_dict(config.to_dict())).eval()
    with torch.no_grad():
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            module.weight.normal_(0, 0.3)
            module.weight[IDS:] = 1e6
            if getattr(module, "bias", None) is not None:
                module.bias.normal_(0, 1)
    return model


def mixture(size: int) -> np.ndarray:
    """Return A of shape (size, IDS): ten rows with a single 1, the others of three random weights."""
    rng = np.random.default_rng(1)
    dense = np.zeros((size, IDS))
    for row in range(size):
        chosen = rng.choice(IDS, 1 if row < 10 else 3, replace=False)
        weights = rng.random(len(chosen))
        dense[row, chosen] = weights / weights.sum()
    return dense.astype(np.float32).astype(np.float64)


def matrix(dense: np.ndarray) -> sparse.csr_matrix:
    return sparse.csr_matrix(dense.astype(np.float32))


def logits(model: PreTrainedModel, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().numpy()


@pytest.mark.parametrize("size", [12, 37, 75])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_and_logits_are_those_of_the_product(name, size):
    """A token that is a source token is read as that token, and every logit is the mixture of the source's logits."""
    model, dense = make(name), mixture(size)
    first, last = (
        m.weight.detach().double().numpy().copy() for m in (model.get_input_embeddings(), model.get_output_embeddings())
    )
    texts = [[0, 3, 9, 9, 2], [7, 1, 8, 4, 6, 5]]
    before = [logits(model, [int(dense[i].argmax()) for i in ids]) for ids in texts]
    initialise(model, matrix(dense), ROLES)

    assert model.get_input_embeddings().weight.shape == (size, 16)
    assert model.get_output_embeddings().weight.shape == (size, 16)
    assert model.config.vocab_size == size
    np.testing.assert_allclose(model.get_input_embeddings().weight.detach().numpy(), dense @ first[:IDS], atol=1e-6)
    np.testing.assert_allclose(model.get_output_embeddings().weight.detach().numpy(), dense @ last[:IDS], atol=1e-6)
    for ids, expected in zip(texts, before, strict=True):
        np.testing.assert_allclose(logits(model, ids), expected[:, :IDS] @ dense.T, atol=2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_tied_stays_tied_and_nothing_else_changes(name):
    model = make(name)
    tied = name.endswith(" tied")
    inner = {key: value.clone() for key, value in model.state_dict().items() if ROWS not in value.shape}
    assert len(inner) > 10
    initialise(model, matrix(mixture(50)), ROLES)
    assert embeddings(model)[2] == tied
    assert model.config.tie_word_embeddings == tied
    after = {key: value for key, value in model.state_dict().items() if 50 not in value.shape}
    assert after.keys() == inner.keys()
    assert all(torch.equal(after[key], inner[key]) for key in inner)


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_and_loaded(name, tmp_path):
    """The checkpoint loads through the Auto class and with nothing missing; its logits are the same bits."""
    model = make(name)
    initialise(model, matrix(mixture(50)), ROLES | {"pad": 3})
    expected = logits(model, [1, 2, 3, 45])
    model.save_pretrained(tmp_path)
    again, found = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(map(len, (found["missing_keys"], found["unexpected_keys"], found["mismatched_keys"])))
    assert np.array_equal(logits(again.eval(), [1, 2, 3, 45]), expected)
    assert np.array_equal(logits(load_model(tmp_path).eval(), [1, 2, 3, 45]), expected)
    assert embeddings(again)[2] == name.endswith(" tied")
    for config in (again.config, again.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (2, 1, 3)


def test_computed_in_float32_and_kept_in_the_dtype_of_the_model():
    model, dense = make("llama, tied").to(torch.bfloat16), mixture(50)
    rows = model.get_input_embeddings().weight.detach()[:IDS].float()
    initialise(model, matrix(dense), ROLES)
    made = model.get_input_embeddings().weight
    assert made.dtype == torch.bfloat16
    exact = (torch.from_numpy(dense) @ rows.double()).to(torch.bfloat16)
    assert (made == exact).float().mean() > 0.99  # sums of bfloat16 numbers would be right in some 70 % only


def test_combine_a_bias():
    bias = torch.tensor([1.0, 2.0, 4.0, 999.0])
    dense = np.array([[0, 1, 0], [0.5, 0, 0.5]])
    assert combine(matrix(dense), bias).tolist() == [2, 2.5]


def test_special_ids():
    """Ids of the old tokenizer are gone from the configuration and from generation, also where the new one has none."""
    model = make("llama, tied")
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id, config.pad_token_id = 31, 32, 33
    initialise(model, matrix(mixture(50)), {"eos": 1})
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (None, 1, None)
    generation = model.generation_config
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (None, 1, 1)


def test_generation_ends_at_the_end_of_a_turn_too():
    model = make("llama, tied")
    initialise(model, matrix(mixture(50)), {"eos": 1, "turn_end": 6, "pad": 2})
    assert model.generation_config.eos_token_id == [1, 6]
    assert model.generation_config.pad_token_id == 2
    assert model.config.eos_token_id == 1
    initialise(model, matrix(np.eye(50)), {"eos": 6, "turn_end": 6})
    assert model.generation_config.eos_token_id == 6


def test_generation_settings_with_ids_of_the_old_tokenizer_are_removed(caplog):
    model = make("llama, tied")
    model.generation_config.suppress_tokens = [39]
    model.generation_config.forced_bos_token_id = 38
    with caplog.at_level(logging.WARNING):
        initialise(model, matrix(mixture(50)), ROLES)
    assert model.generation_config.suppress_tokens is None
    assert model.generation_config.forced_bos_token_id is None
    assert "suppress_tokens named ids of the old tokenizer" in caplog.text


def test_model_with_fewer_rows_than_the_alignment_has_source_tokens():
    model = make("llama, tied")
    with pytest.raises(InputError, match=r"(?s)do not fit\n  found:    40 embedding rows\n  expected: at least the 41 ids"):
        initialise(model, matrix(np.ones((5, 41)) / 41), ROLES)
    assert len(model.get_input_embeddings().weight) == ROWS


def test_model_without_lm_head():
    with pytest.raises(InputError, match="LlamaModel: get_output_embeddings"):
        embeddings(LlamaModel(LlamaConfig(**SMALL)))


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(ArtefactError, match="not a loadable causal language model"):
        load_model(tmp_path)
    make("llama, tied").save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    pickled = tmp_path / "pytorch_model.bin"
    torch.save({}, pickled)
    weights.unlink()
    with pytest.raises(ArtefactError, match="not a loadable causal language model"):
        load_model(tmp_path)  # never unpickled


@pytest.mark.parametrize("length", [0, 5, 4000])
def test_truncated_weights(tmp_path: Path, length):
    make("llama, tied").save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(ArtefactError, match="not a loadable causal language model"):
        load_model(tmp_path)


def test_missing_weights(tmp_path):
    """A checkpoint that lacks a matrix must not get a random one in its place."""
    from safetensors.torch import load_file, save_file

    make("llama, untied").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtefactError, match="lm_head"):
        load_model(tmp_path)


def test_dtype_of_the_checkpoint_is_kept(tmp_path):
    make("llama, tied").to(torch.bfloat16).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert load_model(tmp_path).dtype == torch.bfloat16
    assert load_model(tmp_path, dtype=torch.float32).dtype == torch.float32
