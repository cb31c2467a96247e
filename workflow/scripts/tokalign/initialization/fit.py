"""Rows fitted to the model: merged rows for tokens it never had, and a calibrated head.

An alignment knows the vocabularies; a fit also knows the model. It replaces the rows of category ``decomposed`` by those that
a regression on the model's own vocabulary predicts (``piece_regression``), and calibrates the head on a sample of the corpus
(``head_calibration``). The result is a file of dense rows, which the initialization adds to A @ E.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from tokalign.alignment.align import Side
from tokalign.alignment.matrix import StoredAlignment
from tokalign.alignment.methods.decomposition import pieces_of
from tokalign.alignment.table import TWINS
from tokalign.common.errors import ConfigurationError
from tokalign.config.alignments import FitSettings, InitializationSettings
from tokalign.initialization.embedding_rows import (
    BIAS,
    INPUT,
    OUTPUT,
    RowFunction,
    SourceRows,
    free_rows,
    initial_std,
    one_matrix,
    row_function,
)
from tokalign.initialization.fitted_rows import FittedRows
from tokalign.initialization.head_calibration import SEQUENCE, constant_direction, final_states, fit_bias, sample_documents
from tokalign.initialization.piece_regression import examples, features, fit_ridge, hidden_states, lower_layers, merge_parents
from tokalign.models.checkpoint import Stored, empty_model, find_embeddings, headers, map_tensor
from tokalign.models.device import choose_precision
from tokalign.models.loading import load_model
from tokalign.tokens.counts import count_tokens

log = logging.getLogger(__name__)

FEWEST_EXAMPLES = 64


def fit_rows(
    folder: Path,
    target: Side,
    source: Side,
    alignment: StoredAlignment,
    categories: NDArray[np.str_],
    shards: list[Path],
    settings: FitSettings,
    initialization: InitializationSettings,
    *,
    threads: int,
    trust_remote_code: bool = False,
) -> FittedRows:
    """Fit rows for a model.

    Args:
        folder: folder of the source model.
        target: vocabulary that needs rows.
        source: vocabulary of the model, with its tokenizer.
        alignment: A.
        categories: how each row was found, shape (|V_target|,).
        shards: token shards of the target tokenizer.
        settings: settings of the fit.
        initialization: settings of the initialization that uses these rows.
        threads: threads for counting tokens.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        ConfigurationError: the initialization is an ablation with random rows, so there is nothing to fit.
        InputError, ArtifactError: the model or the shards are invalid.
    """
    if initialization.ablation.kind != "none":
        raise ConfigurationError(
            "alignments: fit and an ablation of the initialization do not go together",
            found=f"ablation {initialization.ablation.kind}",
            mend="remove one of them",
        )
    empty = empty_model(folder, folder=folder, trust_remote_code=trust_remote_code)
    old = find_embeddings(folder, empty, headers(folder))
    tied = old.tied and not initialization.untie
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, choose_precision(settings.precision))
    vocabulary = target.vocabulary
    wanted = [i for i in np.flatnonzero(categories == "decomposed").tolist() if vocabulary.token_bytes[i]]
    cut = [(i, pieces) for i, pieces in zip(wanted, pieces_of(vocabulary, source, wanted), strict=True) if len(pieces) > 1]
    ids, pieces = np.array([i for i, _ in cut], np.int64), [p for _, p in cut]
    tokens, parts = examples(merge_parents(source.tokenizer, source.vocabulary), settings.seed)
    log.info("%d tokens of the model show how rows are merged; %d target tokens get such rows", len(tokens), len(ids))
    roles = source.vocabulary.roles
    start = roles.get("eos", roles.get("bos"))
    states: list[NDArray[np.float32] | None] = [None, None]
    if settings.layers and len(ids):
        model = lower_layers(folder, settings.layers, dtype, trust_remote_code=trust_remote_code).to(device)
        states = [hidden_states(model, sequences, start) for sequences in (parts, pieces)]
        del model

    def merged(entry: Stored) -> torch.Tensor:
        rows = map_tensor(folder, entry)[: source.vocabulary.size].float()
        if len(tokens) < FEWEST_EXAMPLES:
            log.warning("only %d tokens of the model can be cut: rows stay as the alignment makes them", len(tokens))
        if len(tokens) < FEWEST_EXAMPLES or not len(ids):
            return torch.zeros((0, rows.shape[1]))
        ridge = fit_ridge(features(rows, parts, states[0]), rows[torch.from_numpy(tokens)], settings.ridge)
        return ridge.predict(features(rows, pieces, states[1]))

    first = merged(old.input)
    last = first if old.tied else merged(old.output)
    ids = ids[: len(first)]
    if not tied and len(last):
        stored = map_tensor(folder, old.output)
        begin = stored[torch.tensor([p[0] for p in pieces])].float()
        last = last + settings.first_piece * (begin - begin.mean(dim=0))
    size = vocabulary.size
    bias, direction = np.zeros(size, np.float32), np.zeros(first.shape[1], np.float32)
    metadata: dict[str, Any] = {"vocabulary_size": size, "tied": tied, "examples": len(tokens), "calibration_tokens": 0}
    if settings.calibration_tokens and settings.calibration_rounds:
        text = empty.config.get_text_config()
        longest = min(SEQUENCE, getattr(text, "max_position_embeddings", SEQUENCE + 1) - 1)  # and the token before it
        documents = sample_documents(shards, settings.calibration_tokens, settings.seed, longest)
        counts = count_tokens(shards, size, threads=threads)
        model = load_model(folder, dtype=dtype, trust_remote_code=trust_remote_code).base_model.to(device).eval()
        free = free_rows(alignment.fill, categories, np.zeros(size, bool)) if initialization.needs_categories else None

        def function(entry: Stored, matrix: sparse.csr_matrix, stream: int) -> RowFunction:
            stored, std = SourceRows(map_tensor(folder, entry)), initial_std(empty.config)
            return row_function(stored, matrix, alignment, free, initialization, std, stream)

        def whole(entry: Stored, matrix: sparse.csr_matrix, rows: torch.Tensor, stream: int) -> torch.Tensor:
            made = function(entry, matrix, stream)
            blocks = [torch.from_numpy(made(np.arange(at, min(at + 8192, size)))).to(dtype) for at in range(0, size, 8192)]
            all_rows = torch.cat(blocks)
            all_rows[torch.from_numpy(ids)] = rows.to(dtype)
            return all_rows.to(device)

        output = alignment.matrix if alignment.output is None else alignment.output
        shared = one_matrix(alignment.matrix, output, initialization.tied_rows) if tied else alignment.matrix
        rows_in = whole(old.input, shared, first, INPUT)
        their = target.vocabulary.roles
        hidden = final_states(model, rows_in, documents, their.get("eos", their.get("bos")))
        del model
        head = rows_in if tied else whole(old.output, output, last, OUTPUT)
        own = None if old.bias is None else function(old.bias, shared if tied else output, BIAS)(np.arange(size))
        cap = getattr(text, "final_logit_softcapping", None)
        vector, deviation = constant_direction(hidden)
        log.info("%d tokens read; product of direction and hidden states 1 +- %.3f", len(hidden), deviation)
        bias = fit_bias(hidden, head, counts, settings.calibration_rounds, own, cap)
        if tied:
            bias[np.isin(categories, TWINS)] *= settings.twin_bias
        direction = vector.cpu().numpy()
        metadata |= {"calibration_tokens": len(hidden), "constant_deviation": deviation}
    return FittedRows(ids, first.numpy(), last.numpy(), bias, direction, metadata)
