"""What a stage trains, by comparing what comes out with what went in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.settings import altered
from support.training import ALONE, EXECUTION, MODELS, SEED, SETTINGS, VOCABULARY, data, llama, random_blocks, weights
from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.tokens.packing import PackedBlocks
from tokalign.training.order import data_order
from tokalign.training.policies import (
    LoraSettings,
    finished_model,
    new_row_mask,
    put_in,
    select_parameters,
    trained_parameters,
    with_adapters,
)
from tokalign.training.stage import train_stage

LORA = LoraSettings(rank=3, alpha=6, dropout=0.0, targets="all-linear", embeddings=False)
NEW = np.arange(VOCABULARY) % 3 == 1


@pytest.fixture(scope="module")
def blocks(tmp_path_factory) -> PackedBlocks:
    return random_blocks(tmp_path_factory.mktemp("blocks"))


def published(blocks, state, name, policy, **rest):
    """Train two steps with a policy and return the model that a stage would publish, in bfloat16 as its source."""
    settings = altered(SETTINGS, train=policy, steps=2, weight_decay=0.3, lora=rest.get("lora"))
    model = MODELS[name]()
    model.to(torch.bfloat16).float()  # the source is stored in bfloat16
    select_parameters(model, policy, **rest)
    values = train_stage(model, data(blocks), settings, EXECUTION, seed=SEED, state=state, deadline=None, processes=ALONE)
    return finished_model(MODELS[name]().to(torch.bfloat16), policy, values, rest.get("lora"))


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert set(before) == set(after)
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_changes_exactly_these(name, blocks, tmp_path):
    before = weights(MODELS[name]().to(torch.bfloat16))
    after = published(blocks, tmp_path, name, "embeddings")
    assert changed(before, weights(after)) == {key for key in before if "embed" in key or "lm_head" in key}
    assert after.dtype == torch.bfloat16


@pytest.mark.parametrize("name", MODELS)
def test_new_rows_changes_exactly_these_rows(name, blocks, tmp_path):
    before = weights(MODELS[name]().to(torch.bfloat16))
    after = weights(published(blocks, tmp_path, name, "new_rows", new_rows=NEW))
    matrices = {key for key in before if "embed" in key or "lm_head" in key}
    assert changed(before, after) == matrices
    read = np.zeros(VOCABULARY, dtype=bool)
    for number in data_order(len(blocks), 0, 8, SEED):
        read[blocks[int(number)][:-1]] = True  # nothing is predicted from the last token of a block
    for key in matrices:
        rows = (before[key] != after[key]).any(dim=1).numpy()
        is_head = name == "tied" or "lm_head" in key
        np.testing.assert_array_equal(rows, NEW if is_head else NEW & read)


@pytest.mark.parametrize("name", MODELS)
def test_all_changes_everything(name, blocks, tmp_path):
    before = weights(MODELS[name]().to(torch.bfloat16))
    after = published(blocks, tmp_path, name, "all")
    kept = set(before) - changed(before, weights(after))
    assert all(key.endswith("bias") for key in kept)  # a bias of keys has no gradient: softmax does not see it


@pytest.mark.parametrize("embeddings", [False, True])
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]])
def test_lora_changes_exactly_its_targets(targets, embeddings, blocks, tmp_path):
    """Adapters are merged: the model has the parameters that it had, and those of the targets are others."""
    lora = altered(LORA, targets=targets, embeddings=embeddings)
    before = weights(MODELS["untied"]().to(torch.bfloat16))
    after = published(blocks, tmp_path, "untied", "lora", lora=lora)
    inner = {key for key in before if "layers" in key and "proj" in key}
    expected = inner if targets == "all-linear" else {key for key in inner if "q_proj" in key or "v_proj" in key}
    assert changed(before, weights(after)) == expected | (
        {"model.embed_tokens.weight", "lm_head.weight"} if embeddings else set()
    )


def test_adapters_are_a_product_of_low_rank(blocks, tmp_path):
    """What is added is alpha / rank B A, worked out by hand from the trained factors."""
    settings = altered(SETTINGS, train="lora", steps=2, lora=LORA)
    model = select_parameters(llama(), "lora", lora=LORA)
    values = train_stage(model, data(blocks), settings, EXECUTION, seed=SEED, state=tmp_path, deadline=None, processes=ALONE)
    made = weights(finished_model(llama(), "lora", values, LORA))
    start = weights(llama())
    for key in (key for key in start if "proj" in key):
        name = key.removesuffix(".weight")
        first, second = values[f"{name}.lora_A.default.weight"], values[f"{name}.lora_B.default.weight"]
        assert first.shape[0] == second.shape[1] == 3
        torch.testing.assert_close(made[key] - start[key], 2 * second @ first, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("embeddings", {"model.embed_tokens.weight", "lm_head.weight"}),
        ("new_rows", {"model.embed_tokens.weight", "lm_head.weight"}),
    ],
)
def test_only_what_is_trained_has_a_gradient(policy, expected):
    model = select_parameters(MODELS["untied"](), policy, new_rows=NEW)
    assert set(trained_parameters(model)) == expected
    model(input_ids=torch.arange(10)[None], labels=torch.arange(10)[None]).loss.backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == expected


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="embeddings, new_rows, all, lora"):
        select_parameters(llama(), "head")
    with pytest.raises(ConfigurationError, match="q_proj"):
        with_adapters(llama(), altered(LORA, targets=["query"]))
    with pytest.raises(ArtifactError, match="do not fit the model"):
        put_in(llama(), {"model.embed_tokens.weight": torch.zeros(3, 3)}, tmp_path)
    with pytest.raises(ArtifactError, match="nothing"):
        put_in(llama(), {"nothing": torch.zeros(3)}, "nothing")


def test_new_rows_are_those_without_a_twin(tmp_path):
    categories = ["special", "exact", "aligned", "random", "exact", "decomposed"]
    table = pa.table({"id": pa.array(range(6), pa.int32()), "category": categories})
    pq.write_table(table, tmp_path / "tokens.parquet")
    assert new_row_mask(tmp_path / "tokens.parquet", 8).tolist() == [False, False, True, True, False, True, False, False]
    with pytest.raises(ArtifactError, match="6 tokens, 5 embedding rows"):
        new_row_mask(tmp_path / "tokens.parquet", 5)
