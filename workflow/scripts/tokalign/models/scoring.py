"""Log-likelihoods of chosen tokens without all logits: memory is bounded for any vocabulary size.

Used by everything that scores text with a model: bits per byte, multiple choice, held-out text in training.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from tokalign.models.lm_head import LogitScaling, explains_logits, head_only

log = logging.getLogger(__name__)

CHUNK_BYTES = 128_000_000
"""Size of the float32 logits that are normalized at a time, in place."""
LOGITS_BYTES = 2**30
"""Limit on the logits of a batch where an architecture computes them all; batches shrink to it, but a sequence is never split."""
PADDING = 0.1
"""Largest share of padding in a batch: padding costs as much as text."""


def by_length(lengths: Sequence[int], *, most_tokens: int | None = None, most_rows: int | None = None) -> Iterator[list[int]]:
    """Group sequences of similar length into batches, longest first, to limit padding.

    Args:
        lengths: number of tokens of each sequence.
        most_tokens: most tokens of a batch, padding included (a single sequence may have more); ``None`` for any number.
        most_rows: most sequences of a batch; ``None`` for any number.

    Yields:
        Indices of the sequences of a batch; each sequence is in exactly one.
    """
    batch: list[int] = []
    text = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        size = (len(batch) + 1) * lengths[batch[0]] if batch else 0
        full = len(batch) == most_rows or (most_tokens is not None and size > most_tokens)
        if batch and (full or text + lengths[index] < (1 - PADDING) * size):
            yield batch
            batch, text = [], 0
        batch.append(index)
        text += lengths[index]
    if batch:
        yield batch


class Scorer:
    """Scores chosen tokens of batches of sequences.

    If the logits of a model are its LM head times its last hidden state, only the logits of scored tokens are computed, a chunk
    of ``CHUNK_BYTES`` at a time; for other architectures the model computes the logits of the whole batch.

    Args:
        model: model in evaluation mode, on its device.
        bounded: whether to avoid the logits of whole batches; ``None`` avoids them if the architecture allows it.
        chunk_bytes: size of the float32 logits that exist at a time.
    """

    def __init__(self, model: PreTrainedModel, *, bounded: bool | None = None, chunk_bytes: int = CHUNK_BYTES):
        """Find out how the model computes its logits."""
        self.model = model
        self.chunk_bytes = chunk_bytes
        self.scaling = LogitScaling.of(model.config) if (explains_logits(model) if bounded is None else bounded) else None

    @property
    def bounded(self) -> bool:
        """Whether the logits of a whole batch never exist."""
        return self.scaling is not None

    def batch_tokens(self, wanted: int) -> int:
        """Return the most tokens of a batch, so that its logits fit into ``LOGITS_BYTES``.

        This is less than wanted only if all logits of a batch exist.
        """
        if self.bounded:
            return wanted
        return min(wanted, LOGITS_BYTES // (self.model.get_input_embeddings().weight.shape[0] * self.model.dtype.itemsize))

    @torch.no_grad()
    def __call__(
        self,
        sequences: list[np.ndarray],
        rows: np.ndarray,
        positions: np.ndarray,
        *,
        labels: np.ndarray | None = None,
        greedy: bool = False,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Score tokens given all tokens before them.

        Args:
            sequences: token ids of each row of the batch, int64. The last token of a row is only scored, not read. Rows are padded
                on the right without a mask, as causal attention never looks there; this keeps attention on its fastest path.
            rows: rows of the tokens to score, int64, shape (n,).
            positions: their positions in these rows, int64, at least 1, shape (n,).
            labels: ids to score in these places, int64, shape (n,); ``None`` scores the tokens that are there. With labels,
                continuations that differ only in their last token share a row.
            greedy: whether to return which tokens are the most likely ones.

        Returns:
            Negative log-likelihoods in nats, float64, shape (n,), not finite if the model's output is not; and, with ``greedy``,
            whether no other token is more likely, bool, shape (n,).
        """
        device = self.model.device
        ids = np.zeros((len(sequences), max(2, *map(len, sequences))), dtype=np.int64)
        for row, tokens in enumerate(sequences):
            ids[row, : len(tokens)] = tokens
        if labels is None:
            labels = ids[rows, positions]
        inputs = {"input_ids": torch.from_numpy(ids[:, :-1].copy()).to(device), "use_cache": False}
        states = self.model.base_model(**inputs)[0] if self.bounded else self.model(**inputs).logits
        nats, best = np.zeros(len(rows), dtype=np.float64), np.zeros(len(rows), dtype=bool)
        vocabulary = self.model.get_output_embeddings().weight.shape[0] if self.bounded else states.shape[-1]
        chunk = max(1, self.chunk_bytes // (4 * vocabulary))
        for begin in range(0, len(rows), chunk):
            some = slice(begin, begin + chunk)
            chosen = states[torch.from_numpy(rows[some]).to(device), torch.from_numpy(positions[some] - 1).to(device)]
            logits = (head_only(self.model, chosen, self.scaling) if self.bounded else chosen).float()
            wanted = torch.from_numpy(labels[some]).to(device)
            if greedy:
                best[some] = (logits.argmax(-1) == wanted).cpu().numpy()
            logits -= logits.amax(-1, keepdim=True)
            own = logits.gather(1, wanted[:, None])[:, 0]
            nats[some] = (logits.exp_().sum(-1).log() - own).double().cpu().numpy()
        return nats, best if greedy else None
