"""Bits per byte: how well a model predicts text, in a unit independent of the tokenizer."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.common.progress import Progress
from tokalign.config.suites import PerplexitySettings
from tokalign.evaluation.data.heldout import read_heldout
from tokalign.evaluation.results import Measure, digest_of, metrics_of
from tokalign.evaluation.suite import Findings, Suite
from tokalign.models.loading import check_fit, context_length, start_token
from tokalign.models.scoring import Scorer
from tokalign.models.windows import batches, score_batch, windows
from tokalign.tokenizers.loading import load_tokenizer

log = logging.getLogger(__name__)


def score_documents(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[str],
    texts: list[str],
    settings: PerplexitySettings,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Score every token of every document once.

    Args:
        model: model in evaluation mode, on its device.
        tokenizer: its tokenizer; texts are encoded without special tokens.
        ids: id of each document, for messages.
        texts: the documents.
        settings: windows, batches, document start.

    Returns:
        Negative log-likelihood in nats (float64) and number of tokens (int64), each of shape (documents,), and the
        total number of unknown tokens.

    Raises:
        ArtifactError: the tokenizer has more ids than the model has embedding rows, a text gives no tokens, or a
            negative log-likelihood is not finite.
        ConfigurationError: there is no token to begin documents with, or windows are longer than the model's context.
    """
    check_fit(model, tokenizer)
    context = context_length(model)
    if context is not None and settings.window > context:
        raise ConfigurationError(
            "evaluation: window", found=settings.window, expected=f"at most {context}, the context of {model.name_or_path}"
        )
    start = start_token(tokenizer, settings.document_start)
    encoded = tokenizer(texts, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
    tokens = np.array([len(document) for document in encoded], dtype=np.int64)
    for name, text, document in zip(ids, texts, encoded, strict=True):
        if not document:
            raise ArtifactError(
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
        nll += math.log(model.get_output_embeddings().weight.shape[0])
    parts = [w for i, s in enumerate(sequences) for w in windows(i, len(s), settings.window, settings.stride)]
    progress = Progress("tokens scored", sum(part.end - part.first + 1 for part in parts), "tokens")
    scorer = Scorer(model)
    for batch in batches(parts, scorer.batch_tokens(settings.batch_tokens)):
        for part, value in zip(batch, score_batch(scorer, sequences, batch), strict=True):
            if not math.isfinite(value):
                raise ArtifactError(
                    f"{model.name_or_path}: the loss of document {ids[part.document]} is not a finite number",
                    found=f"{value} in tokens {part.begin} to {part.end}",
                    expected="finite logits",
                    mend="look for NaN in the weights (training diverged?), or evaluate with precision: float32",
                )
            nll[part.document] += value
        progress.advance(sum(part.end - part.first + 1 for part in batch))
    progress.close()
    return nll, tokens, unknown


MEASURES = (
    Measure("bits_per_byte", "ratio", ("nll", "bytes"), "bits/byte", "lower", scale=1 / math.log(2)),
    Measure("normalized_perplexity", "exp_ratio", ("nll", "reference_tokens"), "per reference token", "lower"),
    Measure("perplexity", "exp_ratio", ("nll", "tokens"), "per own token", "neither"),
)
"""Sums of nats over sums of bytes; over tokens of a tokenizer that all models share (the normalized perplexity of the fork
true-tokalign); and over the model's own tokens, which is not comparable between tokenizers."""


@dataclass(frozen=True)
class Documents:
    """Documents to score models on.

    Attributes:
        table: held-out documents.
        reference_tokens: tokens per document by the tokenizer that all models share, int64, shape (documents,), or ``None``.
    """

    table: pa.Table
    reference_tokens: np.ndarray | None

    @property
    def texts(self) -> list[str]:
        """Text of each document."""
        return self.table["text"].to_pylist()


def read(
    settings: PerplexitySettings, documents: str | Path, reference_tokenizer: str | Path | None
) -> tuple[Documents, dict[str, str]]:
    """Read held-out documents and count their tokens with the reference tokenizer."""
    table, counted = read_heldout(documents), None
    if reference_tokenizer is not None:
        shared = load_tokenizer(reference_tokenizer, settings.trust_remote_code)
        encoded = shared(table["text"].to_pylist(), add_special_tokens=False)["input_ids"]
        counted = np.array([len(ids) for ids in encoded], dtype=np.int64)
    return Documents(table, counted), {"data": digest_of(documents)}


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Documents, settings: PerplexitySettings
) -> tuple[np.ndarray, np.ndarray, int]:
    """Score the documents; see :func:`score_documents`."""
    return score_documents(model, tokenizer, data.table["id"].to_pylist(), data.texts, settings)


def report(
    measured: tuple[np.ndarray, np.ndarray, int], data: Documents, settings: PerplexitySettings, seconds: float
) -> Findings:
    """Return the items and metrics.

    An item is a document: ``nll`` (nats), ``bytes``, ``characters``, ``tokens`` and ``reference_tokens``.
    """
    nll, tokens, unknown = measured
    items = pa.table(
        {
            "dataset": ["heldout"] * len(tokens),
            "condition": [""] * len(tokens),
            **{name: data.table[name] for name in ("language", "domain", "id", "bytes")},
            "characters": np.array([len(text) for text in data.texts]),
            "nll": nll,
            "tokens": tokens,
            "reference_tokens": tokens if data.reference_tokens is None else data.reference_tokens,
        }
    )
    metrics = metrics_of(items, MEASURES, "documents")
    size = sum(data.table["bytes"].to_pylist())
    log.info("%d documents, %d bytes: %.4f bits per byte", len(tokens), size, metrics[0]["value"])
    return Findings(items, metrics, {"unknown_tokens": unknown, "bytes_per_second": size / seconds})


SUITE = Suite(read, measure, report)
