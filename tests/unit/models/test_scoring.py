"""Scores of chosen tokens against the log-softmax of all logits, for architectures whose logits are not all made alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.models import CONFIGS, IDS, SMALL
from support.project import byte_level
from support.writing import load_both
from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.models.loading import check_fit, context_length, start_token
from tokalign.models.scoring import Scorer, by_length
from transformers import AutoModelForCausalLM, CohereConfig, GraniteConfig, LlamaForCausalLM, MambaConfig

MODELS = {
    **CONFIGS,
    "gemma2, capped": type(CONFIGS["gemma2, tied"])(
        **SMALL, num_key_value_heads=1, head_dim=8, final_logit_softcapping=2.0, attn_logit_softcapping=5.0
    ),
    "cohere, logit scale": CohereConfig(**SMALL, logit_scale=0.25, num_key_value_heads=2),
    "granite, logits scaling": GraniteConfig(**SMALL, logits_scaling=4.0, num_key_value_heads=2),
    "mamba, no attention": MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, state_size=4),
}


@pytest.fixture(scope="module", params=MODELS)
def named(request):
    """A random model whose logits are of some size, so that capping and scaling matter."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MODELS[request.param]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.5)
    return request.param, model


def random_sequences(lengths):
    rng = np.random.default_rng(3)
    return [rng.integers(0, IDS, length) for length in lengths]


def whole(model, tokens):
    """Log-probabilities of all ids after each token, float64, one sequence at a time."""
    with torch.no_grad():
        return torch.log_softmax(model(torch.from_numpy(tokens)[None]).logits[0].double(), -1).numpy()


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 40 * 5, 10**9])
def test_equals_the_whole_logits(named, chunk_bytes):
    """Padding, chunks and the missing last token change nothing."""
    name, model = named
    sequences = random_sequences([9, 4, 2, 7])
    places = [(0, 8), (0, 1), (1, 3), (2, 1), (3, 2), (3, 6), (0, 4)]
    rows, positions = np.array(places).T
    nats, greedy = Scorer(model, chunk_bytes=chunk_bytes)(sequences, rows, positions, greedy=True)
    expected = [whole(model, sequences[row])[position - 1] for row, position in places]
    labels = [sequences[row][position] for row, position in places]
    assert nats == pytest.approx([-scores[label] for scores, label in zip(expected, labels, strict=True)], rel=2e-4, abs=2e-5), (
        name
    )
    assert greedy.tolist() == [scores.argmax() == label for scores, label in zip(expected, labels, strict=True)]


def test_the_logits_of_all_these_are_bounded(named):
    assert Scorer(named[1]).bounded


class Shifted(LlamaForCausalLM):
    """Logits that are more than head times hidden state."""

    def forward(self, *args, **inputs):
        out = super().forward(*args, **inputs)
        out.logits = out.logits + torch.arange(out.logits.shape[-1])
        return out


def test_an_architecture_with_other_logits_is_scored_by_them():
    torch.manual_seed(0)
    model = Shifted(CONFIGS["llama, tied"]).eval()
    (tokens,) = random_sequences([5])
    scorer = Scorer(model)
    nats, _ = scorer([tokens], np.zeros(4, int), np.arange(1, 5))
    assert not scorer.bounded
    assert nats == pytest.approx([-whole(model, tokens)[i - 1][tokens[i]] for i in range(1, 5)], rel=1e-4)


def test_other_labels_share_a_row(named):
    _, model = named
    (tokens,) = random_sequences([6])
    scores = whole(model, tokens)[4]
    ids = np.arange(IDS)
    nats, greedy = Scorer(model)([tokens], np.zeros(IDS, int), np.full(IDS, 5), labels=ids, greedy=True)
    assert nats == pytest.approx(-scores[ids], rel=2e-4, abs=2e-5)
    assert greedy.sum() == (scores.argmax() < IDS)


def test_greedy_is_only_told_where_it_is_asked_for(named):
    _, model = named
    assert Scorer(model)(random_sequences([3]), np.array([0]), np.array([1]))[1] is None


def test_as_many_tokens_as_the_context_has_are_read():
    """The last token of a sequence is scored and not read: learned positions suffice for a window of the context's length."""
    model = AutoModelForCausalLM.from_config(CONFIGS["gpt2, tied"]).eval()
    tokens = random_sequences([context_length(model) + 1])
    nats, _ = Scorer(model)(tokens, np.array([0]), np.array([context_length(model)]))
    assert np.isfinite(nats).all()


@pytest.mark.parametrize("damage", ["model.norm.weight", "model.embed_tokens.weight"])
def test_nan_comes_through(damage):
    """Of a model whose outputs are all NaN, and of one that has it in a row."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS["llama, tied"]).eval()
    with torch.no_grad():
        model.get_parameter(damage)[3] = math.nan
    scorer = Scorer(model)
    assert scorer.bounded
    nats, _ = scorer([np.array([1, 3, 2])], np.array([0, 0]), np.array([1, 2]))
    assert np.isnan(nats).all()  # the matrix is the LM head, too


def test_tokenizer_that_does_not_fit_the_embedding():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS["llama, tied"]).eval()
    tokenizer = byte_level(300, ["the cat"])
    with pytest.raises(ArtifactError, match=r"does not fit(.|\n)*40 embedding rows"):
        check_fit(model, tokenizer)


def test_start_token():
    tokenizer = byte_level(300, ["the cat"])
    assert start_token(tokenizer, "eos") == 0
    assert start_token(tokenizer, "none") is None
    with pytest.raises(ConfigurationError, match="has no bos token"):
        start_token(tokenizer, "bos")


@given(st.lists(st.integers(1, 60), max_size=30), st.none() | st.integers(1, 200), st.none() | st.integers(1, 5))
def test_batches_of_like_length(lengths, most_tokens, most_rows):
    made = list(by_length(lengths, most_tokens=most_tokens, most_rows=most_rows))
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    for batch in made:
        size = len(batch) * max(lengths[index] for index in batch)
        assert most_rows is None or len(batch) <= most_rows
        assert most_tokens is None or len(batch) == 1 or size <= most_tokens
        assert sum(lengths[index] for index in batch) >= 0.9 * size - 1e-9


def test_equal_lengths_fill_a_batch():
    assert [len(batch) for batch in by_length([8] * 10, most_tokens=32)] == [4, 4, 2]
    assert list(by_length([10, 100, 98, 9], most_tokens=400)) == [[1, 2], [0, 3]]


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    LlamaForCausalLM(CONFIGS["llama, tied"]).save_pretrained(tmp_path)
    with pytest.raises(ArtifactError, match="no tokenizer that can be loaded"):
        load_both(tmp_path)
