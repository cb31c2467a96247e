"""Calibration of an LM head: each token is predicted as often as it occurs in the text.

New and old tokens compete in one softmax. A new token takes probability from its own pieces, and how much it should take depends
on how often text uses it, which no row made of other rows can know. So a bias b is added to the logit of each token such that the
share the model predicts for it over a sample of contexts equals its share of the corpus: b += log(counted / predicted), repeated
a few times (iterative proportional fitting; Deming and Stephan 1940). A head without biases takes them as b v, where v is the
vector whose product with the final hidden states of the sample is 1 in the least squares sense. No gradient step is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tokalign.common.errors import InputError
from tokalign.common.progress import Progress
from tokalign.tokens.shards import read_shard

log = logging.getLogger(__name__)

SEQUENCE = 512
"""Most tokens read of a document."""

SMOOTHING = 0.02
"""Occurrences added to every token on both sides of the sample, so that rare tokens keep a finite bias."""

UNSEEN = 0.01
"""Occurrences added to every token of the corpus."""

BATCH_TOKENS = 4096
LOGIT_ROWS = 1024


def sample_documents(paths: Sequence[str | Path], tokens: int, seed: int, longest: int = SEQUENCE) -> list[NDArray[np.int64]]:
    """Draw documents without replacement until there are enough tokens.

    Args:
        paths: token shards.
        tokens: wanted number, counting at most ``longest`` of a document.
        seed: seed of the draw.
        longest: most tokens read of a document.

    Returns:
        Token ids of the beginnings of documents, in drawing order.

    Raises:
        InputError: the shards hold no tokens.
    """
    lengths = [np.diff(batch.offsets) for path in paths for batch in read_shard(path)]
    sizes = np.concatenate([np.zeros(0, np.int64), *lengths])
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(sizes))
    total = np.cumsum(np.minimum(sizes[order], longest))
    if not len(total) or total[-1] == 0:
        raise InputError("calibration: no text", found=f"{len(paths)} shards without a token", mend="give a larger corpus")
    chosen = order[: int(np.searchsorted(total, tokens)) + 1]
    wanted = {int(number): place for place, number in enumerate(chosen)}
    found: dict[int, NDArray[np.int64]] = {}
    first = 0
    for path in paths:
        for batch in read_shard(path):
            for number in range(first, first + len(batch.offsets) - 1):
                if number in wanted:
                    begin, end = batch.offsets[number - first : number - first + 2]
                    found[wanted[number]] = batch.ids[begin : min(end, begin + longest)].astype(np.int64)
            first += len(batch.offsets) - 1
    return [found[place] for place in sorted(found) if len(found[place])]


@torch.inference_mode()
def final_states(
    model: PreTrainedModel, rows: torch.Tensor, documents: Sequence[NDArray[np.int64]], start: int | None
) -> torch.Tensor:
    """Return the final hidden state before each token of some documents.

    Args:
        model: without LM head; its input embedding is replaced, since some models (Gemma) scale the looked-up rows.
        rows: input embedding, (|V_target|, d), in the type and on the device of the model.
        documents: token ids.
        start: token before each document; without it, the state before a document's first token is left out.

    Returns:
        In the type and on the device of the model, (n, d), document by document, sorted by length.
    """
    prefix = [] if start is None else [start]
    embedding = model.get_input_embeddings()
    embedding.weight, embedding.padding_idx = torch.nn.Parameter(rows, requires_grad=False), None
    sequences = sorted((np.concatenate([prefix, document]).astype(np.int64) for document in documents), key=len)
    progress = Progress("reading the sample", sum(map(len, sequences)), "tokens")
    states = []
    begin = 0
    while begin < len(sequences):
        end = begin + 1
        while end < len(sequences) and (end + 1 - begin) * len(sequences[end]) <= BATCH_TOKENS:
            end += 1
        some = sequences[begin:end]
        ids = torch.zeros((len(some), len(some[-1])), dtype=torch.int64)
        for row, sequence in enumerate(some):
            ids[row, : len(sequence)] = torch.from_numpy(sequence)
        out = model(input_ids=ids.to(rows.device), use_cache=False).last_hidden_state
        states += [out[row, : len(sequence) - 1] for row, sequence in enumerate(some)]
        progress.advance(sum(map(len, some)))
        begin = end
    progress.close()
    return torch.cat(states)


def constant_direction(states: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return the vector v with h v nearest to 1, and the standard deviation of h v.

    Here h are the hidden states.

    A penalty on v v, 1e-6 of the sum of squares averaged over the dimensions, keeps v defined and small.

    Args:
        states: (n, d).

    Returns:
        float32 (d), on the device of the states.
    """
    gram = torch.zeros((states.shape[1], states.shape[1]), dtype=torch.float64, device=states.device)
    total = torch.zeros(states.shape[1], dtype=torch.float64, device=states.device)
    for part in states.split(8192):
        part = part.float()
        gram += (part.T @ part).double()
        total += part.sum(dim=0).double()
    gram.diagonal().add_(1e-6 * gram.diagonal().mean() + 1e-12)
    direction = torch.linalg.solve(gram, total).float()
    products = torch.cat([part.float() @ direction for part in states.split(8192)])
    return direction, float(products.std(correction=0))


@torch.inference_mode()
def predicted(states: torch.Tensor, head: torch.Tensor, bias: torch.Tensor, cap: float | None = None) -> torch.Tensor:
    """Return how often each token is predicted, as the sum of its probabilities.

    Args:
        states: hidden states, (n, d).
        head: rows of the LM head, (|V|, d), in the same type.
        bias: bias of the logits, float32 (|V|).
        cap: the model caps logits x as cap tanh(x / cap) (``final_logit_softcapping`` of Gemma 2); ``None`` for no cap.

    Returns:
        float32 (|V|), on the device of the states.
    """
    total = torch.zeros(len(head), device=states.device)
    for part in states.split(LOGIT_ROWS):
        logits = (part @ head.T).float() + bias
        total += torch.softmax(logits if cap is None else cap * torch.tanh(logits / cap), dim=1).sum(dim=0)
    return total


def fit_bias(
    states: torch.Tensor,
    head: torch.Tensor,
    counts: NDArray[np.int64],
    rounds: int,
    own: NDArray[np.float32] | None = None,
    cap: float | None = None,
) -> NDArray[np.float32]:
    """Fit a bias for each token so that its predicted share matches its counted share.

    Args:
        states: hidden states of a sample of contexts, (n, d).
        head: rows of the LM head, (|V|, d), in the same type.
        counts: occurrences of each token in the corpus, int64 (|V|).
        rounds: rounds of proportional fitting.
        own: existing bias of the head, float32 (|V|), or ``None``.
        cap: as in ``predicted``.

    Returns:
        Bias to add to the head's own, float32 (|V|), nats.
    """
    shares = (counts + UNSEEN) / (counts + UNSEEN).sum()
    wanted = torch.from_numpy(shares * len(states)).float().to(states.device)
    bias = torch.zeros(len(head), device=states.device)
    given = bias.clone() if own is None else torch.from_numpy(own).to(states.device)
    for number in range(rounds):
        got = predicted(states, head, given + bias, cap)
        off = float((got / len(states) - wanted / len(states)).abs().sum() / 2)
        log.info("round %d: %.1f %% of the predicted probability stands at the wrong tokens", number + 1, 100 * off)
        bias += torch.log((wanted + SMOOTHING) / (got + SMOOTHING))
    return bias.cpu().numpy()
