"""Rows by regression on the vocabulary: parents, cuts, features and the ridge against brute force."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import CONFIGS, IDS, make
from support.sides import BYTES
from tokalign.initialization import piece_regression
from tokalign.initialization.piece_regression import (
    cut,
    examples,
    features,
    fit_ridge,
    hidden_states,
    lower_layers,
    merge_parents,
)
from tokalign.tokenizers.vocabulary import Vocabulary, describe
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import AutoModelForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast, Qwen2Config


def sentencepiece(model: models.Model, special: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")


def spelled(parents: dict[int, tuple[int, ...]], vocabulary: Vocabulary) -> dict[str, list[str]]:
    return {vocabulary.tokens[whole]: [vocabulary.tokens[part] for part in parts] for whole, parts in parents.items()}


# -------------------------------------------------------------------------------------------------------------- parents


def test_parents_of_a_byte_level_bpe_are_its_merges():
    tokenizer = BYTES.tokenizer
    vocabulary = describe(tokenizer)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    expected = {first + second: [first, second] for first, second in merges}
    assert len(expected) == vocabulary.size - 256 - 1 > 30
    parents = merge_parents(tokenizer, vocabulary)
    assert spelled(parents, vocabulary) == expected
    for whole, parts in parents.items():
        assert b"".join(vocabulary.token_bytes[part] for part in parts) == vocabulary.token_bytes[whole]


def test_first_of_two_merges_to_the_same_token_counts_and_tokens_without_one_are_cut():
    """Of a BPE in the manner of SentencePiece; bytes of a character are its parts, a fallback byte has none."""
    pieces = [
        "<unk>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "t",
        "h",
        "e",
        "th",
        "he",
        "the",
        "▁the",
        "日",
        "▁日e",
    ]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    merges = [("t", "h"), ("h", "e"), ("th", "e"), ("t", "he"), ("▁", "the")]
    model = models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True)
    tokenizer = sentencepiece(model, ["<unk>", "</s>"])
    described = describe(tokenizer)
    assert spelled(merge_parents(tokenizer, described), described) == {
        "th": ["t", "h"],
        "he": ["h", "e"],
        "the": ["th", "e"],
        "▁the": ["▁", "the"],
        "日": ["<0xE6>", "<0x97>", "<0xA5>"],
        "▁日e": ["▁", "日", "e"],
    }


def test_merges_that_are_written_as_one_string():
    spec = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "abb": 3}, "merges": ["a b", "ab b"]}}
    tokenizer = SimpleNamespace(backend_tokenizer=SimpleNamespace(to_str=lambda: json.dumps(spec)))
    vocabulary = Vocabulary(["a", "b", "ab", "abb"], [b"a", b"b", b"ab", b"abb"], ["text"] * 4, {})
    assert merge_parents(tokenizer, vocabulary) == {2: (0, 1), 3: (2, 1)}


def test_parents_without_merges_are_the_longest_pieces():
    """A Unigram model; a long token is cut into long pieces, too; special tokens are neither cut nor parts."""
    scores = [("<unk>", 0.0), ("</s>", 0.0), *((text, -1.0) for text in ("a", "b", "c", "ab", "bc", "abc", "abcab", "d" * 40))]
    scores += [("d", -1.0), ("d" * 90, -2.0), ("xa", -2.0), ("▁", -1.0), ("▁a", -1.0)]
    tokenizer = sentencepiece(models.Unigram(scores, 0, False), ["<unk>", "</s>"])
    described = describe(tokenizer)
    assert spelled(merge_parents(tokenizer, described), described) == {
        "ab": ["a", "b"],
        "bc": ["b", "c"],
        "abc": ["ab", "c"],
        "abcab": ["abc", "ab"],
        "d" * 40: ["d"] * 40,
        "d" * 90: ["d" * 40, "d" * 40, *["d"] * 10],
        "▁a": ["▁", "a"],
    }  # xa is not cut: no token has the byte x


def without_merges(names: list[str]) -> tuple[Any, Vocabulary]:
    tokenizer = SimpleNamespace(backend_tokenizer=SimpleNamespace(to_str=lambda: '{"model": {"vocab": []}}'))
    return tokenizer, Vocabulary(names, [name.encode() for name in names], ["text"] * len(names), {})


VOCABULARIES = st.lists(st.text("abc", min_size=2, max_size=9), unique=True, max_size=20).map(
    lambda words: ["a", "b", "c", *words]
)


@given(VOCABULARIES, st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_cuts_join_to_the_bytes_of_the_token(names, seed):
    tokenizer, vocabulary = without_merges(names)
    parents = merge_parents(tokenizer, vocabulary)
    assert parents.keys() == set(range(3, len(names)))
    tokens, pieces = examples(parents, seed)
    assert tokens.tolist() == sorted(parents)
    generator = np.random.default_rng(seed)
    for token, parts in [*zip(tokens.tolist(), pieces, strict=True), *((t, cut(t, parents, generator)) for t in parents)]:
        assert len(parts) >= 2
        assert token not in parts
        assert "".join(names[part] for part in parts) == names[token]


def greedy(text: str, others: list[str]) -> list[str]:
    pieces = []
    while text:
        piece = max((other for other in others if text.startswith(other)), key=len)
        pieces.append(piece)
        text = text[len(piece) :]
    return pieces


@given(VOCABULARIES)
@settings(max_examples=80, deadline=None)
def test_longest_pieces_without_the_token_itself(names):
    tokenizer, vocabulary = without_merges(names)
    expected = {name: greedy(name, [other for other in names if other != name]) for name in names[3:]}
    assert spelled(merge_parents(tokenizer, vocabulary), vocabulary) == expected


def test_a_token_of_the_same_bytes_is_no_part():
    tokenizer, vocabulary = without_merges(["a", "b", "ab", "ab"])
    assert merge_parents(tokenizer, vocabulary) == {2: (0, 1), 3: (0, 1)}


def test_every_other_example_is_cut_once_and_the_others_deeper_by_chance():
    """A chain of merges, in which token i is token i - 1 and one more letter."""
    parents = {i: (i - 1, 0) for i in range(1, 400)}
    tokens, pieces = examples(parents, 3)
    assert tokens.dtype == np.int64
    assert tokens.tolist() == list(range(1, 400))
    assert all(parts == list(parents[token]) for token, parts in zip(range(1, 400, 2), pieces[::2], strict=True))
    deeper = [len(parts) for parts in pieces[1::2]]
    for length, share in ((2, 0.5), (3, 0.25), (4, 0.125)):
        assert abs(np.mean(np.array(deeper) == length) - share) < 0.11  # three standard deviations for 0.5
    assert examples(parents, 3)[1] == pieces
    assert examples(parents, 4)[1] != pieces


# ------------------------------------------------------------------------------------------------------------- features

ROWS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 4.0], [-1.0, 3.0]])


def test_features_by_hand():
    described = features(ROWS, [[0, 1], [2], [3, 3, 1, 0]], None)
    expected = [
        [0.5, 1.0, 1.0, 0.0, 0.0, 2.0, 1.0],
        [4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 1.0],
        [-0.25, 2.0, -1.0, 3.0, 1.0, 0.0, 1.0],
    ]
    assert described.dtype == torch.float32
    assert described.tolist() == expected
    states = np.array([[7.0, 8.0], [9.0, 10.0], [11.0, 12.0]], np.float32)
    with_states = features(ROWS, [[0, 1], [2], [3, 3, 1, 0]], states)
    assert with_states.tolist() == [[*row[:6], *state, 1.0] for row, state in zip(expected, states.tolist(), strict=True)]


@pytest.mark.parametrize("penalty", [0.1, 10.0, 1000.0])
@pytest.mark.parametrize("block", [7, 8192])
def test_ridge_is_the_least_squares_solution_of_the_augmented_system(penalty, block):
    rng = np.random.default_rng(0)
    x = rng.normal(0.3, 1, (60, 9)) * rng.uniform(0.05, 20, 9)
    x[:, 3], x[:, 8] = 2.0, 1.0  # constant features are not scaled
    y = rng.normal(size=(60, 4))
    x, y = (torch.from_numpy(part).float() for part in (x, y))
    scale = x.double().numpy().std(axis=0, ddof=1)
    scale[[3, 8]] = 1
    scaled = x.double().numpy() / scale
    augmented = np.concatenate([scaled, np.sqrt(penalty) * np.eye(9)])
    weights = np.linalg.lstsq(augmented, np.concatenate([y.double().numpy(), np.zeros((9, 4))]), rcond=None)[0]
    ridge = fit_ridge(x, y, penalty, block)
    np.testing.assert_allclose(ridge.scale.numpy(), scale, rtol=1e-5)
    np.testing.assert_allclose(ridge.weights.numpy(), weights, atol=2e-5)
    fresh = torch.from_numpy(rng.normal(size=(5, 9))).float()
    np.testing.assert_allclose(ridge.predict(fresh).numpy(), fresh.double().numpy() / scale @ weights, atol=5e-4)


def test_ridge_finds_a_linear_map_again():
    """Rows that are sums of their pieces are predicted for pieces that were never seen together."""
    rng = np.random.default_rng(1)
    rows = torch.from_numpy(rng.normal(size=(40, 6))).float()
    pairs, others = (rng.integers(0, 40, (300, 2)).tolist() for _ in range(2))
    ridge = fit_ridge(features(rows, pairs, None), rows[torch.tensor(pairs)].sum(dim=1), 1e-4)
    np.testing.assert_allclose(ridge.predict(features(rows, others, None)), rows[torch.tensor(others)].sum(dim=1), atol=1e-3)


# -------------------------------------------------------------------------------------------------------- hidden states

SHAPE = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
WINDOWS = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
LAYERED = {
    "qwen2": Qwen2Config(**SHAPE, num_key_value_heads=2, use_sliding_window=True, max_window_layers=1, **WINDOWS),
    "gemma2": type(CONFIGS["gemma2, tied"])(**SHAPE, num_key_value_heads=1, head_dim=8, **WINDOWS),
    "gemma3": Gemma3TextConfig(**SHAPE, num_key_value_heads=1, head_dim=8, **WINDOWS),
}


@pytest.mark.parametrize("batch", [4, 4096])
@pytest.mark.parametrize("start", [None, 2])
@pytest.mark.parametrize("name", ["llama, tied", "gpt_neox, untied", "gpt2, tied"])
def test_states_are_those_of_each_sequence_read_alone(monkeypatch, name, start, batch):
    monkeypatch.setattr(piece_regression, "BATCH_TOKENS", batch)
    model = make(name).base_model
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, IDS, length).tolist() for length in (3, 1, 2, 3, 7, 1, 3, 2)]
    made = hidden_states(model, sequences, start)
    assert made.dtype == np.float32
    with torch.no_grad():
        for row, sequence in zip(made, sequences, strict=True):
            alone = model(input_ids=torch.tensor([([] if start is None else [start]) + sequence])).last_hidden_state[0, -1]
            np.testing.assert_allclose(row, alone.numpy(), atol=1e-5)


def final_norm(model: torch.nn.Module) -> torch.nn.Module:
    names = ("norm", "final_layer_norm", "ln_f", "final_layernorm")
    return next(getattr(model, name) for name in names if hasattr(model, name))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", [*LAYERED, "llama, untied", "gpt_neox, untied", "gpt2, tied", "phi, LM head with bias"])
def test_lower_layers_are_those_of_the_whole_model_and_its_last_norm(tmp_path, name, layers):
    """Layers of several kinds, too, keep their kinds."""
    if name in LAYERED:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(LAYERED[name]).eval()
    else:
        model = make(name)
    with torch.no_grad():
        final_norm(model.base_model).weight.normal_(1, 0.2)
    model.save_pretrained(tmp_path)
    ids = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3]])
    low = lower_layers(tmp_path, layers, torch.float32)
    assert low.config.num_hidden_layers == layers
    below = []
    with torch.no_grad():
        blocks = next(module for module in model.base_model.modules() if isinstance(module, torch.nn.ModuleList))
        hook = blocks[layers - 1].register_forward_hook(lambda *call: below.append(call[2]))
        model(input_ids=ids)
        hook.remove()
        state = below[0][0] if isinstance(below[0], tuple) else below[0]
        torch.testing.assert_close(low(input_ids=ids).last_hidden_state, final_norm(model.base_model)(state), atol=1e-5, rtol=0)


def test_more_layers_than_the_model_has_are_the_whole_model(tmp_path):
    model = make("llama, tied")
    model.save_pretrained(tmp_path)
    low = lower_layers(tmp_path, 99, torch.float32)
    ids = torch.tensor([[3, 1, 4]])
    with torch.no_grad():
        assert torch.equal(low(input_ids=ids).last_hidden_state, model.base_model(input_ids=ids).last_hidden_state)
