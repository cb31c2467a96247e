"""Bits per byte: how well a model predicts text, in a unit that does not depend on its tokenizer."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tokalign.bootstrap import RESAMPLES, SEED, ratio_interval
from tokalign.device import choose_precision
from tokalign.errors import ArtefactError, ConfigurationError
from tokalign.heldout import read_heldout
from tokalign.initialisation import load_model
from tokalign.progress import Progress

log = logging.getLogger(__name__)

CHUNK_BYTES = 128_000_000
"""Size of the float32 logits that are normalised at a time; the log-softmax needs as much again."""
LOGITS_BYTES = 2**30
"""Batches are made smaller than asked for where their logits would take more; one window is never split."""
IGNORED = -100


@dataclass(frozen=True)
class PerplexitySettings:
    """How documents are scored.

    Attributes:
        window: most tokens that the model reads at once, the document start token among them.
        stride: tokens between the beginnings of two windows of a longer document; at most ``window``. A token after
            the first window sees at least ``window - stride`` tokens before it.
        batch_tokens: most tokens, padding included, in one forward pass (a single window may have more); fewer where
            their logits would take more than ``LOGITS_BYTES``.
        precision: of weights and activations: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on a device that has
            it, else float32. The log-softmax is always float32, sums are float64.
        document_start: what the first token is conditioned on: ``eos`` (the model's end-of-text token, which comes
            before every document in packed training text), ``bos``, or ``none``: then the first token is charged
            log(vocabulary) nats, as there is nothing to predict it from.
        trust_remote_code: whether code that comes with the model may run.
    """

    window: int
    stride: int
    batch_tokens: int
    precision: str
    document_start: str
    trust_remote_code: bool

    def __post_init__(self) -> None:
        """Check the values against each other.

        Raises:
            ConfigurationError: a value is out of range.
        """
        if not 1 <= self.stride <= self.window:
            raise ConfigurationError(
                "evaluation: stride",
                found=f"stride {self.stride}, window {self.window}",
                expected="1 <= stride <= window, or tokens between two windows are never scored",
                mend="set stride to half the window",
            )
        for key, values in (("precision", ("auto", "float32", "bfloat16")), ("document_start", ("eos", "bos", "none"))):
            if getattr(self, key) not in values:
                raise ConfigurationError(f"evaluation: {key}", found=getattr(self, key), expected=" or ".join(values))


@dataclass(frozen=True)
class Window:
    """A part of a document's token sequence that is read at once.

    Attributes:
        document: its index.
        begin: index of the first token that is read.
        end: index after the last token that is read; token ``end`` itself is the last that is predicted.
        first: index of the first token that is scored here, at least ``begin + 1``.
    """

    document: int
    begin: int
    end: int
    first: int


def windows(document: int, length: int, window: int, stride: int) -> Iterator[Window]:
    """Yield windows that together score the tokens 1 ... length - 1 of a sequence, each once.

    Args:
        document: index to put into the windows.
        length: tokens of the sequence, the start token included.
        window: most tokens read at once.
        stride: tokens between the beginnings of two windows, at most ``window``.
    """
    begin, first = 0, 1
    while first < length:
        end = min(begin + window, length - 1)
        yield Window(document, begin, end, first)
        begin, first = begin + stride, end + 1


def batches(parts: list[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Group windows of like length, longest first, so that rows x longest row is at most ``batch_tokens``."""
    batch: list[Window] = []
    for part in sorted(parts, key=lambda p: (p.begin - p.end, p.document, p.begin)):
        longest = batch[0].end - batch[0].begin if batch else 0
        if batch and (len(batch) + 1) * longest > batch_tokens:
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


@torch.no_grad()
def score_batch(model: PreTrainedModel, sequences: list[np.ndarray], batch: list[Window]) -> np.ndarray:
    """Return the negative log-likelihood of the scored tokens of each window.

    Args:
        model: a causal language model.
        sequences: token ids per document, int64.
        batch: windows; padded on the right, which causal attention never looks at, and masked.

    Returns:
        Nats, float64, shape (windows,); not finite where the model's output is not.
    """
    width = max(part.end - part.begin for part in batch)
    inputs = np.zeros((len(batch), width), dtype=np.int64)
    labels = np.full((len(batch), width), IGNORED, dtype=np.int64)
    mask = np.zeros((len(batch), width), dtype=np.int64)
    for row, part in enumerate(batch):
        tokens = sequences[part.document]
        inputs[row, : part.end - part.begin] = tokens[part.begin : part.end]
        mask[row, : part.end - part.begin] = 1
        labels[row, part.first - 1 - part.begin : part.end - part.begin] = tokens[part.first : part.end + 1]
    device = model.device
    logits = model(
        input_ids=torch.from_numpy(inputs).to(device),
        attention_mask=torch.from_numpy(mask).to(device),
        use_cache=False,
    ).logits
    rows, positions = np.nonzero(labels != IGNORED)
    chunk = max(1, CHUNK_BYTES // (4 * logits.shape[-1]))
    sums = np.zeros(len(batch), dtype=np.float64)
    for start in range(0, len(rows), chunk):
        some = slice(start, start + chunk)
        at, where = rows[some], positions[some]
        losses = torch.nn.functional.cross_entropy(
            logits[torch.from_numpy(at).to(device), torch.from_numpy(where).to(device)].float(),
            torch.from_numpy(labels[at, where]).to(device),
            reduction="none",
        )
        np.add.at(sums, at, losses.double().cpu().numpy())
    return sums


def start_token(tokenizer: PreTrainedTokenizerBase, document_start: str) -> int | None:
    """Return the id that documents begin with, or ``None`` for ``document_start: none``.

    Raises:
        ConfigurationError: the tokenizer has no such token.
    """
    if document_start == "none":
        return None
    token = tokenizer.eos_token_id if document_start == "eos" else tokenizer.bos_token_id
    if token is None:
        roles = [r for r in ("bos", "eos") if getattr(tokenizer, f"{r}_token_id") is not None]
        raise ConfigurationError(
            f"evaluation: document_start: {document_start}",
            found=f"the tokenizer {tokenizer.name_or_path} has no {document_start} token",
            expected=" or ".join([*roles, "none"]),
            mend="choose another document_start, or give the tokenizer that token",
        )
    return token


def score_documents(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[str],
    texts: list[str],
    settings: PerplexitySettings,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Score every token of every document once.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: its tokenizer; texts are encoded without special tokens.
        ids: name of each document, for messages.
        texts: the documents.
        settings: windows, batches, document start.

    Returns:
        Negative log-likelihood in nats (float64) and number of tokens (int64), each of shape (documents,), and the
        number of unknown tokens in all.

    Raises:
        ArtefactError: the tokenizer has more ids than the model has embedding rows, a text gives no tokens, or a
            negative log-likelihood is not finite.
        ConfigurationError: no token to begin documents with, or windows longer than the model's context.
    """
    table = model.get_input_embeddings().weight.shape[0]
    highest = max(tokenizer.get_vocab().values())
    if highest >= table:
        raise ArtefactError(
            f"{model.name_or_path}: the tokenizer does not fit the model",
            found=f"token ids up to {highest}, {table} embedding rows",
            expected="a row for every id",
            mend="evaluate the model with the tokenizer it was made for",
        )
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and settings.window > context:
        raise ConfigurationError(
            "evaluation: window", found=settings.window, expected=f"at most {context}, the context of {model.name_or_path}"
        )
    start = start_token(tokenizer, settings.document_start)
    encoded = tokenizer(texts, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
    tokens = np.array([len(document) for document in encoded], dtype=np.int64)
    for name, text, document in zip(ids, texts, encoded, strict=True):
        if not document:
            raise ArtefactError(
                f"document {name}: the tokenizer gives no tokens",
                found=repr(text[:40]),
                expected="at least one token per document, or its bytes would cost nothing",
                mend="use a tokenizer that can encode this text, or leave the document out",
            )
    unknown = 0
    if tokenizer.unk_token_id is not None:
        unknown = sum(document.count(tokenizer.unk_token_id) for document in encoded)
    if unknown:
        log.warning("warning: %d unknown tokens: their bytes cannot be told from the tokens, bits per byte are too low", unknown)
    prefix = [] if start is None else [start]
    sequences = [np.array(prefix + document, dtype=np.int64) for document in encoded]
    nll = np.zeros(len(texts), dtype=np.float64)
    if start is None:
        rows = model.get_output_embeddings()
        nll += math.log(table if rows is None else rows.weight.shape[0])
    parts = [w for i, s in enumerate(sequences) for w in windows(i, len(s), settings.window, settings.stride)]
    progress = Progress("tokens scored", sum(part.end - part.first + 1 for part in parts), "tokens")
    most = min(settings.batch_tokens, LOGITS_BYTES // (table * model.dtype.itemsize))
    for batch in batches(parts, most):
        for part, value in zip(batch, score_batch(model, sequences, batch), strict=True):
            if not math.isfinite(value):
                raise ArtefactError(
                    f"{model.name_or_path}: the loss of document {ids[part.document]} is not a finite number",
                    found=f"{value} in tokens {part.begin} to {part.end}",
                    expected="finite logits",
                    mend="look for NaN in the weights (training diverged?), or evaluate with precision: float32",
                )
            nll[part.document] += value
        progress.advance(sum(part.end - part.first + 1 for part in batch))
    progress.close()
    return nll, tokens, unknown


def summary(nll: np.ndarray, tokens: np.ndarray, sizes: np.ndarray) -> dict[str, Any]:
    """Return bits per byte and perplexity of a set of documents.

    Args:
        nll: nats per document.
        tokens: tokens per document.
        sizes: UTF-8 bytes per document.

    Returns:
        ``bits_per_byte`` = sum(nll) / (ln 2 x sum(sizes)), its bootstrap interval ``ci95``, ``perplexity`` per token
        = exp(sum(nll) / sum(tokens)) (comparable between models of one tokenizer only; ``None`` above e^700),
        ``documents``, ``bytes``, ``tokens`` and ``nll_nats``.
    """
    per_token = nll.sum() / tokens.sum()
    return {
        "bits_per_byte": float(nll.sum() / (math.log(2) * sizes.sum())),
        "ci95": ratio_interval(nll, sizes, scale=1 / math.log(2)),
        "perplexity": math.exp(per_token) if per_token < 700 else None,
        "documents": len(nll),
        "bytes": int(sizes.sum()),
        "tokens": int(tokens.sum()),
        "nll_nats": float(nll.sum()),
    }


def load(
    folder: str | Path, tokenizer: str | Path, settings: PerplexitySettings
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer from their folders, onto the GPU if there is one.

    Raises:
        ArtefactError: the folder holds no model, or weights are missing from it.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ArtefactError(f"{folder}: no model there", expected="config.json and safetensors", mend="make the model first")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    transformers.utils.logging.disable_progress_bar()
    options = {"local_files_only": True, "trust_remote_code": settings.trust_remote_code}
    model = load_model(
        folder, dtype=getattr(torch, choose_precision(settings.precision)), trust_remote_code=settings.trust_remote_code
    )
    return model.to(device).eval(), AutoTokenizer.from_pretrained(tokenizer, **options)


def evaluate(
    folder: str | Path, tokenizer: str | Path, documents: str | Path, settings: PerplexitySettings, labels: dict[str, Any]
) -> dict[str, Any]:
    """Score a model on held-out documents.

    Args:
        folder: of the model.
        tokenizer: folder of its tokenizer; that of the model where both lie together.
        documents: Parquet file of held-out documents.
        settings: how.
        labels: what this is, copied into the result.

    Returns:
        ``labels``, ``settings``, ``overall`` and ``groups`` (see :func:`summary`; a group per language and domain),
        ``documents`` (id, bytes, tokens, nll in nats), ``unknown_tokens``, ``bootstrap``, ``versions``, ``device``,
        ``precision``, ``seconds`` and ``bytes_per_second`` of the scoring.
    """
    table = read_heldout(documents)
    model, tokens_of = load(folder, tokenizer, settings)
    ids = table["id"].to_pylist()
    sizes = table["bytes"].to_numpy().astype(np.int64)
    keys = list(zip(table["language"].to_pylist(), table["domain"].to_pylist(), strict=True))
    device = torch.cuda.get_device_name() if model.device.type == "cuda" else "cpu"
    precision = str(model.dtype).removeprefix("torch.")
    log.info("%d documents, %d bytes; %s on %s", len(ids), sizes.sum(), precision, device)
    start = time.perf_counter()
    nll, tokens, unknown = score_documents(model, tokens_of, ids, table["text"].to_pylist(), settings)
    seconds = time.perf_counter() - start
    groups = []
    for language, domain in sorted(set(keys)):
        chosen = np.array([key == (language, domain) for key in keys])
        groups.append({"language": language, "domain": domain, **summary(nll[chosen], tokens[chosen], sizes[chosen])})
    overall = summary(nll, tokens, sizes)
    log.info("%.4f bits per byte, perplexity %.4g per token", overall["bits_per_byte"], overall["perplexity"] or math.inf)
    return {
        "labels": labels,
        "settings": asdict(settings),
        "overall": overall,
        "groups": groups,
        "documents": [
            {"id": name, "bytes": int(size), "tokens": int(count), "nll": float(value)}
            for name, size, count, value in zip(ids, sizes, tokens, nll, strict=True)
        ],
        "unknown_tokens": unknown,
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "unit": "document"},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "device": device,
        "precision": precision,
        "seconds": seconds,
        "bytes_per_second": float(sizes.sum() / seconds),
    }
