"""Likeness of texts by a tiny random encoder, against loops over single texts and tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.settings import unchecked
from tokalign.common.errors import ConfigurationError, InputError
from tokalign.evaluation.suites.alignment.embedder import EmbedderSettings, compare, greedy_matching, load_embedder, mean_pooled

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *["the", "a", "small", "large", "model", "reads", "writes", "text", "old", "new"]]
CANDIDATES = ["the small model", "a new text reads the old text", "", "the the the", "large model writes a small text"]
REFERENCES = ["the small model", "the old text", "a text", "", "a large old model reads new text the the the"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Save a random BERT of two layers that reads 10 tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("embedder")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(place)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                        max_position_embeddings=10, initializer_range=0.5)  # fmt: skip
    BertModel(config).save_pretrained(place)
    return place


def alone(folder: Path, text: str, layer: int) -> tuple[np.ndarray, list[int], np.ndarray]:
    """Return the token embeddings of one text at a layer, its ids, and its sentence embedding, without padding."""
    embedder = load_embedder(folder, None)
    ids = [2, *(WORDS.index(word) for word in text.split()), 3][:10]
    if len(text.split()) > 8:
        ids[-1] = 3
    with torch.inference_mode():
        hidden = embedder.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    return hidden[layer][0].double().numpy(), ids, hidden[-1][0].double().numpy().mean(0)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize("batch_tokens", [8, 4096])
def test_as_by_loops(folder, layer, batch_tokens):
    found = compare(
        load_embedder(folder, layer), CANDIDATES, REFERENCES, unchecked(EmbedderSettings, layer=layer, batch_tokens=batch_tokens)
    )
    for row, texts in enumerate(zip(CANDIDATES, REFERENCES, strict=True)):
        (ours, our_ids, our_mean), (theirs, their_ids, their_mean) = (
            alone(folder, t, 2 if layer is None else layer) for t in texts
        )
        assert found.cosine[row] == pytest.approx(cosine(our_mean, their_mean), abs=1e-5)
        best = [max(cosine(a, b) for b in theirs) for a, i in zip(ours, our_ids, strict=True) if i > 3]
        back = [max(cosine(a, b) for a in ours) for b, i in zip(theirs, their_ids, strict=True) if i > 3]
        precision, recall = (np.mean(best), np.mean(back)) if best and back else (0, 0)
        assert (found.precision[row], found.recall[row]) == pytest.approx((precision, recall), abs=1e-5)
        expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
        assert found.f1[row] == pytest.approx(expected, abs=1e-5)
    assert found.truncated == 1  # the last reference has ten words, of which eight are read
    assert found.cosine[0] == pytest.approx(1) and found.f1[0] == pytest.approx(1)
    assert found.f1[2] == found.f1[3] == 0
    assert found.cosine[1] < 0.999


def test_pooling_leaves_padding_out():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]], [[5.0, 5.0]] * 3])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert mean_pooled(hidden, mask).tolist() == [[2.0, 3.0], [0.0, 0.0]]


def test_matching_by_hand():
    """Candidate (1,0), (0,1); reference (1,0) and a special token (0,2) that can be matched but does not count."""
    candidate, reference = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    yes, first = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    assert [float(s) for s in greedy_matching(candidate, yes, yes, reference, yes, first)] == [1.0, 1.0]
    assert [float(s) for s in greedy_matching(candidate, yes, yes, reference, first, first)] == [0.5, 1.0]


def test_nothing_to_compare(folder):
    found = compare(load_embedder(folder, None), [], [], EmbedderSettings(batch_tokens=64))
    assert (len(found.cosine), found.truncated) == (0, 0)


def test_what_cannot_be_loaded(folder, tmp_path):
    with pytest.raises(InputError, match="no embedder can be loaded"):
        load_embedder(tmp_path, None)
    with pytest.raises(ConfigurationError, match="no such layer"):
        load_embedder(folder, 3)
