"""Initialization: a checkpoint with embeddings E' = A @ E and the special ids of the new tokenizer.

The source checkpoint is never loaded: its files are copied tensor by tensor, and the new rows are computed block by block.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tokalign.alignment.matrix import StoredAlignment
from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.config.alignments import InitializationSettings
from tokalign.initialization.ablations import MEANING, ablated
from tokalign.initialization.embedding_rows import (
    BIAS,
    INPUT,
    OUTPUT,
    SourceRows,
    Step,
    followed,
    free_rows,
    initial_std,
    one_matrix,
    replacing,
    row_bytes,
    row_function,
    shifting,
)
from tokalign.initialization.fitted_rows import FittedRows
from tokalign.models.checkpoint import (
    Embeddings,
    Stored,
    check_shapes,
    empty_model,
    find_embeddings,
    headers,
    map_tensor,
    write_weights,
)
from tokalign.models.configuration import generation_config, save_configuration, set_special_ids
from tokalign.models.safetensors_file import Made

log = logging.getLogger(__name__)


def initialize(
    source: Path,
    folder: Path,
    alignment: StoredAlignment,
    categories: NDArray[np.str_] | None,
    roles: Mapping[str, int],
    settings: InitializationSettings,
    fitted: FittedRows | None = None,
    *,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Write the checkpoint with the rows of an alignment, without a tokenizer.

    All tensors except the embeddings keep their type and bytes. Memory holds one block of rows; E is mapped from its file.

    Args:
        source: folder of the source model, safetensors.
        folder: an empty folder.
        alignment: A, shape (|V_target|, |V_source|), and its fills and seed.
        categories: how each row was found, shape (|V_target|,); needed if ``settings.needs_categories``.
        roles: special ids of the target tokenizer; ``bos``, ``eos`` and ``pad`` are set in the model's configuration and
            generation configuration, to ``None`` if the tokenizer has no such token.
        settings: settings of the initialization.
        fitted: rows fitted to this model, or ``None``.
        trust_remote_code: run Python code that comes with the model.

    Returns:
        What was done, for ``initialization.json``.

    Raises:
        InputError: the model and the alignment do not fit, or the model cannot take another vocabulary.
        ArtifactError: the model's files are damaged or incomplete.
        ConfigurationError: the settings need untied embeddings, but the model's are tied.
    """
    model = empty_model(source, folder=source, trust_remote_code=trust_remote_code)
    stored = headers(source)
    old = find_embeddings(source, model, stored)
    rows_there = old.input.tensor.shape[0]
    if min(rows_there, old.output.tensor.shape[0]) < alignment.matrix.shape[1]:
        raise InputError(
            f"{source}: the alignment and the model do not fit",
            found=f"{min(rows_there, old.output.tensor.shape[0])} embedding rows",
            expected=f"at least the {alignment.matrix.shape[1]} ids of the source tokenizer",
            mend="name the model's own tokenizer in its block",
        )
    tied = old.tied and not settings.untie
    check_settings(settings, tied, source)
    if fitted is not None:
        check_fitted(fitted, alignment.matrix.shape[0], old.input.tensor.shape[1], tied, source)
    size = alignment.matrix.shape[0]
    padded = -size % settings.pad_to_multiple_of
    config, generation = copy.deepcopy(model.config), generation_config(source, model)
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        if not tied and getattr(part, "tie_word_embeddings", None):
            part.tie_word_embeddings = False
    config.get_text_config().vocab_size = size + padded
    set_special_ids(config, generation, roles)
    new_model = empty_model(config, folder=source, trust_remote_code=trust_remote_code)
    if (new_model.get_input_embeddings().weight is new_model.get_output_embeddings().weight) != tied:
        raise InputError(
            f"{source}: a {type(model).__name__} always shares one matrix between input embedding and LM head",
            mend="set initialization.untie of the alignment to false",
        )
    made = new_tensors(source, old, tied, alignment, categories, settings, initial_std(model.config), padded, fitted)
    dropped = ({old.input_place[0], old.output_place[0]} & stored.keys()) - made.keys()
    check_shapes(source, new_model, stored, made, dropped)
    write_weights(source, folder, stored, made, dropped)
    save_configuration(source, folder, model, config, generation, old.input.tensor.dtype, trust_remote_code)
    log.info(
        "%d rows and %d of padding for %d; embeddings %s; %s",
        size, padded, rows_there, "tied" if tied else "not tied", MEANING[settings.ablation.kind],
    )  # fmt: skip
    return {
        "settings": settings.plain(),
        "ablation": MEANING[settings.ablation.kind],
        "rows": size,
        "padding_rows": padded,
        "tied": tied,
        "tied_in_source": old.tied,
        "fitted": None if fitted is None else {"rows": len(fitted.ids), **fitted.metadata},
        "tensors": {key: file for key, (file, _) in made.items()},
    }


def check_settings(settings: InitializationSettings, tied: bool, source: Path) -> None:
    """Check that a model with one matrix has no settings that need two.

    Raises:
        ConfigurationError: input and output rows should have different lengths, but are the same rows.
    """
    if tied and settings.scale.input != settings.scale.output:
        raise ConfigurationError(
            "initialization.scale: input and output differ, but the model's embeddings are one matrix",
            found=f"input {settings.scale.input}, output {settings.scale.output}; {source} ties them",
            expected="the same number twice",
            mend="set `untie: true` beside it, or give both the same number",
        )


def check_fitted(fitted: FittedRows, size: int, width: int, tied: bool, source: Path) -> None:
    """Check that fitted rows belong to a model and an alignment.

    Raises:
        ArtifactError: they were made for another vocabulary or width, or for embeddings shared differently.
    """
    found = (fitted.metadata["vocabulary_size"], fitted.input.shape[1], fitted.metadata["tied"])
    if found != (size, width, tied):
        raise ArtifactError(
            f"{source}: the fitted rows are not of this model and alignment",
            found=f"vocabulary {found[0]}, width {found[1]}, {'one matrix' if found[2] else 'two matrices'}",
            expected=f"vocabulary {size}, width {width}, {'one matrix' if tied else 'two matrices'}",
            mend="delete them and run again",
        )


def new_tensors(
    source: Path,
    old: Embeddings,
    tied: bool,
    alignment: StoredAlignment,
    categories: NDArray[np.str_] | None,
    settings: InitializationSettings,
    std: float,
    padded: int,
    fitted: FittedRows | None,
) -> dict[str, tuple[str, Made]]:
    """Return the new embeddings as tensors that are computed while they are written.

    Args:
        source: folder of the source model.
        old: its embeddings.
        tied: whether the new model's embeddings are one matrix.
        alignment: A.
        categories: how each row was found, or ``None``.
        settings: settings of the initialization.
        std: standard deviation of fresh rows.
        padded: number of padding rows.
        fitted: rows fitted to the model, or ``None``.

    Returns:
        By key: the file of the tensor, and the tensor. A model whose embeddings are being untied gets its second matrix in the
        file of the first.
    """
    alignment, replaced = ablated(alignment, settings.ablation)
    first, last = alignment.matrix, alignment.matrix if alignment.output is None else alignment.output
    if tied:
        first = last = one_matrix(first, last, settings.tied_rows)
    free = free_rows(alignment.fill, categories, replaced) if settings.needs_categories else None

    def made(entry: Stored, place: tuple[str, str], matrix: sparse.csr_matrix, stream: int) -> tuple[str, tuple[str, Made]]:
        (key, file), rows = place, SourceRows(map_tensor(source, entry))
        shape = (matrix.shape[0], *rows.shape[1:])
        function = row_function(rows, matrix, alignment, free, settings, std, stream)
        if fitted is not None and stream != BIAS:
            function = followed(function, fitted_steps(fitted, tied, stream))
        blocks = row_bytes(function, shape, padded, rows.tensor.dtype, f"{source / entry.file}: {entry.key}")
        whole = (shape[0] + padded, *shape[1:])
        return key, (file, Made(entry.tensor.dtype, whole, rows.tensor.element_size(), blocks))

    if tied:
        tensors = [made(old.input, (old.input.key, old.input.file), first, INPUT)]
    else:
        tensors = [made(old.input, old.input_place, first, INPUT), made(old.output, old.output_place, last, OUTPUT)]
    if old.bias is not None:
        tensors.append(made(old.bias, (old.bias.key, old.bias.file), last, BIAS))
    return dict(tensors)


def fitted_steps(fitted: FittedRows, tied: bool, stream: int) -> list[Step]:
    """Return the steps by which a fit changes the rows of one matrix.

    Args:
        fitted: rows and calibration.
        tied: whether the embeddings are one matrix.
        stream: ``INPUT`` (also for a shared matrix) or ``OUTPUT``.
    """
    steps = [replacing(fitted.ids, fitted.input if stream == INPUT else fitted.output)]
    if tied or stream == OUTPUT:
        steps.append(shifting(fitted.bias, fitted.direction))
    return steps
