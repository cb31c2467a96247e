"""Tiny random models of several architectures, and alignments for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from scipy import sparse
from tokalign.alignment.matrix import StoredAlignment
from tokalign.config.alignments import AblationSettings, InitializationSettings
from tokalign.initialization.initialize import initialize
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedModel,
)

ROWS, IDS = 40, 37
"""Rows of the models, of which the last three are padding that no token of the source has."""
LLAMA = "model.embed_tokens.weight"
"""Key of the input embedding of a Llama."""
ROLES = {"eos": 1, "bos": 2, "unk": 4}
"""Roles of a target vocabulary."""
SMALL = {"vocab_size": ROWS, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIGS = {
    "llama, tied": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "llama, untied": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "gpt_neox, untied": GPTNeoXConfig(**SMALL, tie_word_embeddings=False),
    "gpt2, tied": GPT2Config(vocab_size=ROWS, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "phi, LM head with bias": PhiConfig(**SMALL, tie_word_embeddings=False),
    "gemma2, tied": Gemma2Config(**SMALL, num_key_value_heads=1, head_dim=8),
    "opt, tied": OPTConfig(
        vocab_size=ROWS, hidden_size=16, ffn_dim=32, num_hidden_layers=2, num_attention_heads=2, word_embed_proj_dim=8
    ),
}
DEFAULTS = {
    "untie": False,
    "pad_to_multiple_of": 1,
    "tied_rows": "mean",
    "norm_matching": "none",
    "scale": {"input": 1, "output": 1},
}


def make(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Return a random model with nonzero bias and padding rows."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(type(CONFIGS[name]).from_dict(CONFIGS[name].to_dict())).eval()
    with torch.no_grad():
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            module.weight.normal_(0, 0.3)
            module.weight[IDS:] = 1e6
            if getattr(module, "bias", None) is not None:
                module.bias.normal_(0, 1)
    return model.to(dtype)


def mixture(size: int, seed: int = 1) -> np.ndarray:
    """Return A of shape (size, IDS): ten rows with a single 1, the others with three random weights."""
    rng = np.random.default_rng(seed)
    dense = np.zeros((size, IDS))
    for row in range(size):
        chosen = rng.choice(IDS, 1 if row < 10 else 3, replace=False)
        weights = rng.random(len(chosen))
        dense[row, chosen] = weights / weights.sum()
    return dense.astype(np.float32).astype(np.float64)


def stored(dense: np.ndarray, output: np.ndarray | None = None, fill: np.ndarray | None = None) -> StoredAlignment:
    """Return an alignment with these matrices; all source tokens except the first are ordinary."""
    size, sources = dense.shape
    return StoredAlignment(
        sparse.csr_matrix(dense.astype(np.float32)),
        None if output is None else sparse.csr_matrix(output.astype(np.float32)),
        np.zeros(size, np.int8) if fill is None else fill,
        np.arange(sources) > 0,
        7,
    )


def settings(kind: str = "none", share: float = 1.0, seed: int = 1, **changes: Any) -> InitializationSettings:
    """Return the settings of an initialization with an ablation."""
    return InitializationSettings(**{**DEFAULTS, "ablation": AblationSettings(kind=kind, share=share, seed=seed), **changes})


def initialized(
    folder: Path,
    model: PreTrainedModel | Path,
    alignment: StoredAlignment,
    chosen: InitializationSettings | None = None,
    categories: np.ndarray | None = None,
    roles: dict[str, int] | None = None,
) -> Path:
    """Save a model unless it is a folder, initialize it and return the folder of the result."""
    source = model if isinstance(model, Path) else folder / "source"
    if source is not model:
        model.save_pretrained(source)
    out = folder / "initialized"
    out.mkdir()
    initialize(source, out, alignment, categories, roles or {"eos": 1}, chosen or settings())
    return out


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a checkpoint by key."""
    return {key: value for file in sorted(folder.glob("*.safetensors")) for key, value in load_file(file).items()}


def logits(model: PreTrainedModel, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().numpy()
