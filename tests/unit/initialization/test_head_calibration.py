"""Calibration of a head: the sample, the states, the direction and the biases against brute force."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from support.models import CONFIGS, make
from support.shards import write_shard
from tokalign.common.errors import InputError
from tokalign.initialization import head_calibration
from tokalign.initialization.head_calibration import (
    SEQUENCE,
    constant_direction,
    final_states,
    fit_bias,
    predicted,
    sample_documents,
)
from transformers import AutoModelForCausalLM, Gemma3TextConfig

# ------------------------------------------------------------------------------------------------------------- sample


@pytest.fixture
def corpus(tmp_path):
    """Shards of several batches, whose documents are runs of numbers that tell them apart; one is empty."""
    rng = np.random.default_rng(0)
    lengths = [0, 700, 512, 513, *rng.integers(1, 60, 56).tolist()]
    documents = [list(range(1000 * number, 1000 * number + length)) for number, length in enumerate(lengths)]
    paths = [
        write_shard(tmp_path / "0.arrow", documents[:35], rows=10),
        write_shard(tmp_path / "1.arrow", documents[35:], rows=8),
    ]
    return paths, documents


def numbers(sample: list[np.ndarray]) -> list[int]:
    return [int(document[0]) // 1000 for document in sample]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("tokens", [1, 300, 900])
def test_sample_is_as_large_as_asked_and_not_larger_by_a_document(corpus, tokens, seed):
    paths, documents = corpus
    sample = sample_documents(paths, tokens, seed)
    assert len(set(numbers(sample))) == len(sample)
    for number, document in zip(numbers(sample), sample, strict=True):
        assert document.dtype == np.int64
        assert document.tolist() == documents[number][:512]
    assert sum(map(len, sample)) >= tokens > sum(map(len, sample[:-1]))


def test_sample_of_everything_has_each_document_once_and_cuts_it(corpus):
    paths, documents = corpus
    sample = sample_documents(paths, 10**9, 1)
    assert SEQUENCE == 512
    assert sorted(numbers(sample)) == [number for number, document in enumerate(documents) if document]
    assert max(map(len, sample)) == 512
    assert {number: len(document) for number, document in zip(numbers(sample), sample, strict=True) if number < 4} == {
        1: 512,
        2: 512,
        3: 512,
    }
    shorter = sample_documents(paths, 10**9, 1, longest=20)
    assert numbers(shorter) == numbers(sample)
    assert all(np.array_equal(short, long[:20]) for short, long in zip(shorter, sample, strict=True))


def test_sample_depends_on_the_seed_alone(corpus):
    paths, _ = corpus
    assert numbers(sample_documents(paths, 900, 1)) == numbers(sample_documents(paths, 900, 1))
    assert numbers(sample_documents(paths, 900, 1)) != numbers(sample_documents(paths, 900, 2))
    first = [numbers(sample_documents(paths, 1, seed))[0] for seed in range(200)]
    assert len(set(first)) > 50  # 60 documents, each the first one of about three draws


@pytest.mark.parametrize("documents", [[], [[], []]])
def test_no_text_is_an_error(tmp_path, documents):
    with pytest.raises(InputError, match=r"calibration: no text\n  found:    1 shards without a token"):
        sample_documents([write_shard(tmp_path / "0.arrow", documents)], 10, 1)


# ------------------------------------------------------------------------------------------------------------- states

GEMMA3 = Gemma3TextConfig(
    vocab_size=40,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
    sliding_window=4,
    layer_types=["sliding_attention", "full_attention"],
)


@pytest.mark.parametrize("batch", [1, 20, 4096])
@pytest.mark.parametrize("start", [None, 2])
@pytest.mark.parametrize("name", [*CONFIGS, "gemma3"])
def test_states_are_those_of_each_document_read_alone(monkeypatch, name, start, batch):
    """With the rows of another vocabulary in the model's own place, whatever it does to a row that it looks up."""
    monkeypatch.setattr(head_calibration, "BATCH_TOKENS", batch)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GEMMA3).eval() if name == "gemma3" else make(name)
    rows = torch.randn(30, model.get_input_embeddings().weight.shape[1]) * 0.3
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 30, length) for length in (5, 1, 9, 3, 2, 12, 7)]
    alone = []
    with torch.no_grad():
        model.resize_token_embeddings(30, mean_resizing=False)
        model.get_input_embeddings().weight.copy_(rows)
        for document in sorted(documents, key=len):
            ids = [*([] if start is None else [start]), *document.tolist()]
            alone.append(model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0, :-1])
        model.get_input_embeddings().weight.zero_()
    made = final_states(model.base_model, rows, documents, start)
    assert made.shape == (sum(map(len, documents)) - (0 if start is not None else len(documents)), rows.shape[1])
    torch.testing.assert_close(made, torch.cat(alone), atol=2e-5, rtol=0)


def test_rows_may_be_fewer_than_the_padding_token_of_the_old_vocabulary():
    model = make("llama, tied").base_model
    model.get_input_embeddings().padding_idx = 39
    assert final_states(model, torch.randn(10, 16), [np.array([1, 2, 3])], 0).shape == (3, 16)


# ---------------------------------------------------------------------------------------------------------- direction


@pytest.mark.parametrize("offset", [0.0, 0.5, 3.0])
def test_constant_direction_is_the_least_squares_solution(offset):
    rng = np.random.default_rng(0)
    states = rng.normal(size=(500, 12)) * rng.uniform(0.5, 2, 12) + offset
    expected = np.linalg.lstsq(states, np.ones(500), rcond=None)[0]
    direction, deviation = constant_direction(torch.from_numpy(states).float())
    assert direction.dtype == torch.float32
    np.testing.assert_allclose(direction.numpy(), expected, atol=1e-4 * abs(expected).max())
    np.testing.assert_allclose(deviation, (states @ expected).std(), rtol=1e-3)


def test_direction_of_states_that_share_a_part_is_exact():
    states = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    states[:, 5] = -4.0
    direction, deviation = constant_direction(states)
    np.testing.assert_allclose((states @ direction).numpy(), 1, atol=1e-3)
    assert deviation < 1e-4


# ------------------------------------------------------------------------------------------------------------- biases


@pytest.fixture
def small_head():
    rng = np.random.default_rng(0)
    states, head = (torch.from_numpy(rng.normal(size=shape)).float() for shape in ((300, 6), (25, 6)))
    counts = (10_000 * rng.dirichlet(np.full(25, 0.5))).astype(np.int64) + 20
    return states, head, counts


def probabilities(states, head, bias, cap=None) -> np.ndarray:
    logits = states.double().numpy() @ head.double().numpy().T + bias
    if cap is not None:
        logits = cap * np.tanh(logits / cap)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("rows", [7, 1024])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_predicted_by_brute_force(monkeypatch, small_head, cap, rows):
    monkeypatch.setattr(head_calibration, "LOGIT_ROWS", rows)
    states, head, _ = small_head
    bias = np.random.default_rng(1).normal(size=25)
    made = predicted(states, head, torch.from_numpy(bias).float(), cap)
    np.testing.assert_allclose(made.numpy(), probabilities(states, head, bias, cap).sum(axis=0), rtol=1e-4)


@pytest.mark.parametrize("cap", [None, 30.0])
@pytest.mark.parametrize("own", [False, True])
def test_after_enough_rounds_predicted_shares_are_the_counted_ones(small_head, own, cap):
    states, head, counts = small_head
    given = np.random.default_rng(1).normal(size=25).astype(np.float32) if own else None
    bias = fit_bias(states, head, counts, 200, given, cap)
    assert bias.dtype == np.float32
    shares = probabilities(states, head, bias + (0 if given is None else given), cap).mean(axis=0)
    np.testing.assert_allclose(shares, (counts + 0.01) / (counts + 0.01).sum(), rtol=2e-3)


def test_each_round_comes_nearer(small_head):
    states, head, counts = small_head
    wanted = counts / counts.sum()
    off = [abs(probabilities(states, head, fit_bias(states, head, counts, n)).mean(axis=0) - wanted).sum() for n in range(6)]
    assert all(later < 0.8 * earlier for earlier, later in pairwise(off))


def test_one_round_by_hand():
    """Two tokens, logits 0: each is predicted for half of the four contexts, and is 3 and 1 of 4 tokens of the text."""
    bias = fit_bias(torch.zeros(4, 2), torch.zeros(2, 2), np.array([3, 1]), 1)
    share = 3.01 / 4.02
    np.testing.assert_allclose(bias, np.log([(4 * share + 0.02) / 2.02, (4 * (1 - share) + 0.02) / 2.02]), rtol=1e-5)


def test_tokens_that_never_occur_get_a_finite_bias_below_the_others(small_head):
    states, head, counts = small_head
    counts[[3, 9]] = 0
    bias = fit_bias(states, head, counts, 3)
    assert np.isfinite(bias).all()
    assert max(bias[[3, 9]]) < min(np.delete(bias, [3, 9]))


def test_no_round_is_no_bias(small_head):
    assert not fit_bias(*small_head, 0).any()
