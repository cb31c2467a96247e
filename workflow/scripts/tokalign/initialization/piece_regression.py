"""Rows of new tokens, predicted from their pieces by a regression on the model's own vocabulary.

A source token can be cut into smaller source tokens, and its row is known. So the vocabulary itself gives tens of thousands of
examples of (pieces, row of the whole), and a ridge regression on them predicts the rows of tokens the model never had. Features
of a token are the mean, the first and the last row of its pieces, and the hidden state at the last piece after the lower
layers, where models combine the pieces of a word (Kaplan et al. 2025, "From Tokens to Words: On the Inner Lexicon of LLMs").
Solved in closed form: no gradient step is taken.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as logging_of_transformers

from tokalign.alignment.methods.decomposition import longest_pieces
from tokalign.alignment.methods.overlap import ids_by_bytes
from tokalign.common.progress import Progress
from tokalign.tokenizers.vocabulary import Vocabulary

log = logging.getLogger(__name__)

DEEPER_CUTS = 0.5
"""Probability that a piece of an example is cut again, so that examples have as many pieces as new tokens."""

BATCH_TOKENS = 4096


def merge_parents(tokenizer: Any, vocabulary: Vocabulary) -> dict[int, tuple[int, ...]]:
    """Return the parts of each source token: the two sides of its BPE merge, else its longest pieces.

    Args:
        tokenizer: a fast tokenizer.
        vocabulary: its canonical bytes and kinds.

    Returns:
        Token id -> ids of its parts, at least two; no entry for tokens that cannot be cut.
    """
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    ids = model["vocab"] if isinstance(model.get("vocab"), dict) else {}
    parents: dict[int, tuple[int, ...]] = {}
    for merge in model.get("merges") or ():
        first, second = merge if isinstance(merge, list) else merge.split(" ", 1)
        whole = ids.get(first + second)
        if whole is not None and whole not in parents and first in ids and second in ids:
            parents[whole] = (ids[first], ids[second])
    known = ids_by_bytes(vocabulary)
    for token, (data, kind) in enumerate(zip(vocabulary.token_bytes, vocabulary.kinds, strict=True)):
        if token not in parents and kind == "text" and len(data) > 1:
            pieces = longest_pieces(data, known, len(data) - 1)
            if pieces:
                parents[token] = tuple(pieces)
    return {token: parts for token, parts in parents.items() if vocabulary.kinds[token] == "text"}


def cut(token: int, parents: dict[int, tuple[int, ...]], generator: np.random.Generator) -> list[int]:
    """Cut a token into its parts, and each part again with probability ``DEEPER_CUTS``."""
    pieces: list[int] = []
    for part in parents[token]:
        if part in parents and generator.random() < DEEPER_CUTS:
            pieces += cut(part, parents, generator)
        else:
            pieces.append(part)
    return pieces


def examples(parents: dict[int, tuple[int, ...]], seed: int) -> tuple[NDArray[np.int64], list[list[int]]]:
    """Return source tokens and their pieces; every other token is cut once, the others to random depth.

    Args:
        parents: as ``merge_parents`` gives them.
        seed: seed of the cuts.

    Returns:
        Token ids, int64 (n), ascending; and their pieces.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    tokens = sorted(parents)
    pieces = [list(parents[t]) if i % 2 == 0 else cut(t, parents, generator) for i, t in enumerate(tokens)]
    return np.array(tokens, np.int64), pieces


def lower_layers(folder: Any, layers: int, dtype: torch.dtype, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Load the first layers of a model and its final norm.

    Args:
        folder: folder of the model.
        layers: number of layers.
        dtype: type to compute in.
        trust_remote_code: run Python code that comes with the model.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    text = config.get_text_config()
    text.num_hidden_layers = min(layers, text.num_hidden_layers)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: text.num_hidden_layers]
    verbosity = logging_of_transformers.get_verbosity()
    logging_of_transformers.set_verbosity_error()  # the upper layers are left out on purpose
    model = AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=trust_remote_code
    )
    logging_of_transformers.set_verbosity(verbosity)
    return model.base_model.eval()


@torch.inference_mode()
def hidden_states(model: PreTrainedModel, sequences: Sequence[Sequence[int]], start: int | None) -> NDArray[np.float32]:
    """Return the hidden state at the last token of each sequence, each read separately.

    Args:
        model: without LM head, such as ``lower_layers`` gives it.
        sequences: token ids, at least one per sequence.
        start: token before each sequence, or ``None``.

    Returns:
        float32 (len(sequences), d).
    """
    prefix = [] if start is None else [start]
    out: NDArray[np.float32] | None = None
    order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
    progress = Progress("reading pieces", len(sequences), "tokens of the vocabulary")
    begin = 0
    while begin < len(order):
        length = len(sequences[order[begin]])
        end = begin
        while end < len(order) and len(sequences[order[end]]) == length and (end - begin) * (length + 1) < BATCH_TOKENS:
            end += 1
        some = order[begin:end]
        ids = torch.tensor([prefix + list(sequences[i]) for i in some], device=model.device)
        states = model(input_ids=ids, use_cache=False).last_hidden_state[:, -1].float().cpu().numpy()
        if out is None:
            out = np.empty((len(sequences), states.shape[1]), np.float32)
        out[some] = states
        progress.advance(len(some))
        begin = end
    progress.close()
    return np.zeros((0, 0), np.float32) if out is None else out


def features(rows: torch.Tensor, pieces: Sequence[Sequence[int]], states: NDArray[np.float32] | None) -> torch.Tensor:
    """Describe tokens by their pieces.

    Args:
        rows: E, float32 (|V_source|, d).
        pieces: source ids of each of n tokens.
        states: hidden states at the last pieces, float32 (n, d), or ``None``.

    Returns:
        float32 (n, 3 d + 1), or (n, 4 d + 1) with hidden states: mean, first and last row, hidden state, 1.
    """
    lengths = torch.tensor([len(p) for p in pieces])
    flat = torch.tensor([piece for p in pieces for piece in p])
    owner = torch.repeat_interleave(torch.arange(len(pieces)), lengths)
    total = torch.zeros((len(pieces), rows.shape[1])).index_add_(0, owner, rows[flat])
    ends = torch.cumsum(lengths, 0)
    parts = [total / lengths[:, None], rows[flat[ends - lengths]], rows[flat[ends - 1]]]
    if states is not None:
        parts.append(torch.from_numpy(states))
    return torch.cat([*parts, torch.ones((len(pieces), 1))], dim=1)


@dataclass(frozen=True)
class Ridge:
    """A linear map from features to rows.

    Attributes:
        scale: divisors of the features, float32 (f).
        weights: float32 (f, d).
    """

    scale: torch.Tensor
    weights: torch.Tensor

    def predict(self, described: torch.Tensor) -> torch.Tensor:
        """Return the rows, float32 (n, d), predicted from features, float32 (n, f)."""
        return (described / self.scale) @ self.weights


def fit_ridge(described: torch.Tensor, wanted: torch.Tensor, penalty: float, block: int = 8192) -> Ridge:
    """Return argmin_W |X W - Y|^2 + penalty |W|^2, features scaled to a standard deviation of 1.

    Args:
        described: X, float32 (n, f), the last column being 1.
        wanted: Y, float32 (n, d).
        penalty: weight of the penalty on squared weights.
        block: rows summed at a time; sums over blocks are float64.
    """
    scale = described.std(dim=0)
    scale[scale < 1e-6] = 1.0
    size = described.shape[1]
    gram, moment = torch.zeros((size, size), dtype=torch.float64), torch.zeros((size, wanted.shape[1]), dtype=torch.float64)
    for begin in range(0, len(described), block):
        part = described[begin : begin + block] / scale
        gram += (part.T @ part).double()
        moment += (part.T @ wanted[begin : begin + block]).double()
    gram.diagonal().add_(penalty)
    return Ridge(scale, torch.linalg.solve(gram, moment).float())
