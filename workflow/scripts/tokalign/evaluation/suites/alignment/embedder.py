"""Similarity of text pairs by a sentence embedder: cosine of mean-pooled embeddings, and BERTScore."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.common.progress import Progress
from tokalign.config.evaluations import EmbedderSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedder:
    """An encoder with its tokenizer.

    Attributes:
        model: the encoder, in evaluation mode, float32, on its device.
        tokenizer: its tokenizer.
        longest: most tokens of a text; longer texts are truncated.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    longest: int


@dataclass(frozen=True)
class Likeness:
    """Similarity of the texts of each pair; all float64, shape (pairs,), except ``truncated``.

    Attributes:
        cosine: cosine of the mean-pooled embeddings.
        precision: BERTScore precision (Zhang et al. 2020), without idf weights and without rescaling.
        recall: BERTScore recall, likewise.
        f1: their harmonic mean, 0 if both are 0.
        truncated: number of pairs with a truncated text.
    """

    cosine: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    truncated: int


def load_embedder(folder: str | Path, layer: int | None) -> Embedder:
    """Load an encoder from a safetensors folder, onto a GPU if there is one; no network, no custom code.

    Raises:
        InputError: no encoder can be loaded from the folder.
        ConfigurationError: the encoder has no such layer.
    """
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder}: no embedder can be loaded from here",
            found=(str(error).strip() or type(error).__name__).splitlines()[0],
            expected="config.json, model.safetensors and tokenizer files of an encoder such as BERT",
            mend="correct evaluations: alignment: embedder",
        ) from error
    layers = model.config.num_hidden_layers
    if layer is not None and layer > layers:
        raise ConfigurationError("evaluations: alignment: layer: the embedder has no such layer", found=layer,
                                 expected=f"at most {layers}", mend="choose a layer, or null for the last")  # fmt: skip
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", tokenizer.model_max_length))
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return Embedder(model, tokenizer, int(longest))


def mean_pooled(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of each text's token embeddings, zeros for a text without tokens.

    Args:
        hidden: shape (texts, tokens, dimensions), float32.
        mask: 1 at tokens, 0 at padding, shape (texts, tokens).

    Returns:
        Shape (texts, dimensions).
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def greedy_matching(
    candidate: torch.Tensor,
    candidate_mask: torch.Tensor,
    candidate_counted: torch.Tensor,
    reference: torch.Tensor,
    reference_mask: torch.Tensor,
    reference_counted: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return BERTScore's precision and recall of each pair (Zhang et al. 2020, section 3).

    Each candidate token is matched with the reference token whose embedding has the highest cosine; the mean of these
    cosines is the precision. Recall is the same from the reference to the candidate. As in the authors' package, special
    tokens added by the embedder can be matched but do not count in the means.

    Args:
        candidate: token embeddings, shape (pairs, tokens, dimensions), float32.
        candidate_mask: true at tokens, false at padding, shape (pairs, tokens).
        candidate_counted: true at tokens that count in the mean.
        reference: likewise, with its own number of tokens.
        reference_mask: likewise.
        reference_counted: likewise.

    Returns:
        Two tensors of shape (pairs,); 0 where a text has no token to count.
    """
    cosines = torch.nn.functional.normalize(candidate, dim=-1) @ torch.nn.functional.normalize(reference, dim=-1).transpose(1, 2)
    cosines = cosines.masked_fill(~(candidate_mask.unsqueeze(2) & reference_mask.unsqueeze(1)), -1.0)
    some = candidate_counted.any(1) & reference_counted.any(1)
    scores = []
    for best, counted in ((cosines.amax(2), candidate_counted), (cosines.amax(1), reference_counted)):
        mean = (best * counted).sum(1) / counted.sum(1).clamp(min=1)
        scores.append(torch.where(some, mean, 0.0))
    return scores[0], scores[1]


def _batches(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Group pairs of similar length, longest first; padded, the texts of a group have at most ``batch_tokens`` tokens."""
    order = np.lexsort((np.arange(len(lengths)), -lengths))
    groups, start = [], 0
    while start < len(order):
        rows = max(1, batch_tokens // (2 * max(1, int(lengths[order[start]]))))
        groups.append(order[start : start + rows])
        start += rows
    return groups


@torch.inference_mode()
def compare(embedder: Embedder, candidates: list[str], references: list[str], settings: EmbedderSettings) -> Likeness:
    """Compare each candidate with its reference, row by row.

    Args:
        embedder: embedder of both sides.
        candidates: texts; an empty text is kept and scores 0 in BERTScore.
        references: as many texts.
        settings: layer and batch size.

    Returns:
        One value per pair.

    Raises:
        ArtifactError: a score is not finite.
    """
    tokenizer, device = embedder.tokenizer, embedder.model.device
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids, special, truncated = [], [], np.zeros(len(candidates), dtype=bool)
    for texts in (candidates, references):
        options = {"truncation": True, "max_length": embedder.longest, "return_special_tokens_mask": True}
        encoded = tokenizer(texts, **options) if texts else {"input_ids": [], "special_tokens_mask": []}
        ids.append(encoded["input_ids"])
        special.append(encoded["special_tokens_mask"])
        truncated |= np.array([bool(encoded[i].overflowing) for i in range(len(texts))], dtype=bool)
    lengths = np.array([max(len(a), len(b)) for a, b in zip(*ids, strict=True)], dtype=np.int64)
    result = np.zeros((4, len(candidates)), dtype=np.float64)
    progress = Progress("pairs compared", len(candidates), "pairs")
    for rows in _batches(lengths, settings.batch_tokens):
        width = max(1, int(lengths[rows].max()))
        tokens = np.full((2, len(rows), width), padding, dtype=np.int64)
        mask, counted = np.zeros((2, 2, len(rows), width), dtype=bool)
        for side in (0, 1):
            for at, row in enumerate(rows):
                own = ids[side][row]
                tokens[side, at, : len(own)] = own
                mask[side, at, : len(own)] = True
                counted[side, at, : len(own)] = np.array(special[side][row]) == 0
        both = torch.from_numpy(mask.reshape(-1, width)).to(device)
        output = embedder.model(
            input_ids=torch.from_numpy(tokens.reshape(-1, width)).to(device),
            attention_mask=both.long(),
            output_hidden_states=settings.layer is not None,
        )
        pooled = mean_pooled(output.last_hidden_state, both)
        layer = output.last_hidden_state if settings.layer is None else output.hidden_states[settings.layer]
        n = len(rows)
        weigh = torch.from_numpy(counted.reshape(-1, width)).to(device)
        precision, recall = greedy_matching(layer[:n], both[:n], weigh[:n], layer[n:], both[n:], weigh[n:])
        cosine = torch.nn.functional.cosine_similarity(pooled[:n], pooled[n:])
        f1 = torch.where(precision + recall > 0, 2 * precision * recall / (precision + recall), 0.0)
        result[:, rows] = torch.stack([cosine, precision, recall, f1]).double().cpu().numpy()
        progress.advance(n)
    progress.close()
    if not np.isfinite(result).all():
        worst = int(np.flatnonzero(~np.isfinite(result).all(axis=0))[0])
        raise ArtifactError(
            f"{embedder.model.name_or_path}: the likeness of pair {worst} is not a finite number",
            found=repr(candidates[worst][:60]),
            expected="finite embeddings",
            mend="use another embedder",
        )
    return Likeness(*result, truncated=int(truncated.sum()))
