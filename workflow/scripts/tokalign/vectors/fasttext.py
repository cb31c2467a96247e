"""fastText skip-gram vectors of tokens (Bojanowski et al. 2017), with token ids as words.

The library reads a text file and splits lines of more than 1024 tokens. It ends each document with the word ``</s>``, which
is trained like any other but has no row in the result. It samples frequent words less often (``sampling_threshold``;
Mikolov et al. 2013, section 2.3).

With one thread the result depends only on settings, text and library. Several threads write to the same rows at once
(Hogwild, Recht et al. 2011), so each run gives slightly different vectors.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fasttext_pybind
import numpy as np
from numpy.typing import NDArray

from tokalign.common.errors import ConfigurationError
from tokalign.common.progress import Progress
from tokalign.config.vectors import FastTextSettings
from tokalign.tokens.counts import count_tokens, kept_tokens
from tokalign.vectors.token_text import write_token_text

log = logging.getLogger(__name__)

BUCKETS = 2_000_000
"""Rows for n-grams, which share them by hash; the library's default."""
END_OF_LINE = "</s>"


def _library_arguments(settings: FastTextSettings, text: Path) -> Any:
    """Return the library's arguments; its function ``train_unsupervised`` takes no seed."""
    values = {
        "input": str(text),
        "model": fasttext_pybind.model_name.skipgram,
        "loss": fasttext_pybind.loss_name.ns,
        "dim": settings.dimensions,
        "lr": settings.learning_rate,
        "epoch": settings.epochs,
        "ws": settings.window,
        "neg": settings.negatives,
        "minCount": settings.min_count,
        "minn": settings.min_ngram,
        "maxn": settings.max_ngram,
        "bucket": BUCKETS if settings.max_ngram else 0,
        "t": settings.sampling_threshold,
        "seed": settings.seed,
        "thread": settings.threads,
        "wordNgrams": 1,
        "lrUpdateRate": 100,
        "verbose": 0,
    }
    arguments = fasttext_pybind.args()
    for name, value in values.items():
        setattr(arguments, name, value)
    return arguments


def train_fasttext(
    shards: Sequence[str | Path], vocabulary_size: int, settings: FastTextSettings, *, scratch: Path | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """Train fastText vectors.

    Needs about 6 bytes of disk per token while it runs, 8 * dimensions bytes of memory per kept token, and 4 *
    dimensions * 2,000,000 more if n-grams are used.

    Args:
        shards: token shards.
        vocabulary_size: number of ids of the tokenizer.
        settings: training settings.
        scratch: folder for the text that the library reads; ``None`` for the system's temporary folder.

    Returns:
        Vectors float32 (n, dimensions), token ids int32 (n), frequent tokens first (ties: smaller id first), and
        occurrences int64 (n).

    Raises:
        ArtifactError: a shard is damaged or holds an id out of range.
        InputError: no token occurs ``min_count`` times.
        ConfigurationError: the bounds of the n-grams are invalid, or the training diverges.
    """
    if settings.max_ngram and not 1 <= settings.min_ngram <= settings.max_ngram:
        raise ConfigurationError(
            "min_ngram: out of range",
            found=settings.min_ngram,
            expected=f"1 to {settings.max_ngram}, the value of max_ngram",
            mend="set it, or set max_ngram to 0 for no n-grams",
        )
    counts = count_tokens(shards, vocabulary_size)
    token_ids = kept_tokens(counts, settings.min_count)
    with tempfile.TemporaryDirectory(prefix="fasttext-", dir=scratch) as folder:
        text = Path(folder, "tokens.txt")
        totals = write_token_text(shards, text)
        model = fasttext_pybind.fasttext()
        log.info("fastText trains %d epochs on %d tokens, %d threads", settings.epochs, totals["tokens"], settings.threads)
        progress = Progress("tokens trained on", settings.epochs * totals["tokens"], "tokens")
        try:
            fasttext_pybind.train(model, _library_arguments(settings, text))
        except RuntimeError as error:
            if "NaN" not in str(error):
                raise
            raise ConfigurationError("the fastText vectors diverge", found=error, mend="lower learning_rate") from error
        progress.advance(settings.epochs * totals["tokens"])
        progress.close()
    return _rows(model, token_ids, settings), token_ids, counts[token_ids]


def _rows(model: Any, token_ids: NDArray[np.int32], settings: FastTextSettings) -> NDArray[np.float32]:
    """Return the tokens' vectors in order: input rows, or their means with n-gram rows."""
    if settings.max_ngram:
        rows, buffer = np.empty((len(token_ids), settings.dimensions), np.float32), fasttext_pybind.Vector(settings.dimensions)
        for row, token in enumerate(token_ids.tolist()):
            model.getWordVector(buffer, str(token))
            rows[row] = np.asarray(buffer)
        return rows
    words, _ = model.getVocab("strict")
    place = {int(word): row for row, word in enumerate(words) if word != END_OF_LINE}
    if place.keys() != set(token_ids.tolist()):
        raise RuntimeError(f"fastText kept {len(place)} tokens instead of {len(token_ids)}")
    return np.array(model.getInputMatrix())[[place[token] for token in token_ids.tolist()]]
