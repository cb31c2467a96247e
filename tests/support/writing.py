"""A tiny random model whose top tokens have well-separated logits, for tests of generation."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokalign.models.loading import load_for_evaluation
from tokalign.tokenizers.loading import load_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from support.project import write_tokenizer

WORDS = ["the", "cat", "sat", "on", "a", "mat", "über", "den", "Dächern", "日本語", "です", "и", "кот", "сидел", "\n", "!"]
TEXTS = [" ".join(random.Random(seed).choices(WORDS, k=30)) for seed in range(20)]
CONTEXT = 128


def write_writer(folder: Path, texts: list[str] = TEXTS, *, context: int = CONTEXT, tied: bool = True, rows: int = 304) -> None:
    """Save the model and its tokenizer, trained on some texts, whose end-of-text token has the id 0."""
    write_tokenizer(folder, texts, 300)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=rows, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=context, initializer_range=0.3, bos_token_id=None, eos_token_id=0, tie_word_embeddings=tied,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def load_both(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model in float32 and its tokenizer, from one folder."""
    return load_for_evaluation(folder, precision="float32", trust_remote_code=False), load_tokenizer(folder)


def greedy_tokens(model: PreTrainedModel, ids: list[int], count: int) -> list[int]:
    """Return the most likely next tokens, with a full forward pass for each."""
    ids = list(ids)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[-count:]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Return the tokens of a prompt after the end-of-text token."""
    return [0, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
