"""Initialisation: a checkpoint whose input and output embeddings are E' = A @ E, and whose special ids are the new tokenizer's.

The source checkpoint is never loaded: its files are copied tensor by tensor, and the new rows are made block by block.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from scipy import sparse
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PretrainedConfig, PreTrainedModel

from tokalign.ablations import MEANING, WHOLE_ROWS, AblationSettings, ablated
from tokalign.alignment import StoredAlignment
from tokalign.checkpoint import Embeddings, Stored, check_shapes, empty_model, find_embeddings, headers, map_tensor, write_weights
from tokalign.embedding_rows import (
    RowFunction,
    SourceRows,
    Step,
    combined,
    drawn,
    filling,
    followed,
    kept_by_id,
    replacing,
    rescaling,
    row_bytes,
    shifting,
    wanted_lengths,
)
from tokalign.errors import ArtefactError, ConfigurationError, InputError
from tokalign.fills import FILLS, moments
from tokalign.fitted import FittedRows
from tokalign.model_configuration import generation_config, save_configuration, set_special_ids
from tokalign.safetensors_file import Made

log = logging.getLogger(__name__)

TWINS = ("special", "exact")
"""Categories of rows that are the row of the same token; they are never rescaled."""

INPUT, OUTPUT, BIAS = 0, 1, 2
"""Streams of random numbers, one for each matrix."""


@dataclass(frozen=True)
class InitialisationSettings:
    """The block ``initialisation`` of an alignment; see the schema for the meaning of the fields."""

    untie: bool
    pad_to_multiple_of: int
    tied_rows: str
    norm_matching: str
    scale: dict[str, float]
    ablation: AblationSettings

    @classmethod
    def from_block(cls, block: Mapping[str, Any]) -> InitialisationSettings:
        """Return the settings of a block of the configuration."""
        return cls(**{**block, "ablation": AblationSettings(**block["ablation"])})

    @property
    def needs_categories(self) -> bool:
        """Whether rows are treated by how they were found."""
        return self.norm_matching != "none" or set(self.scale.values()) != {1}


def load_model(
    folder: str | Path, *, dtype: torch.dtype | str = "auto", trust_remote_code: bool = False, **options: Any
) -> PreTrainedModel:
    """Load a causal language model from a local folder, safetensors only.

    Args:
        folder: of the model.
        dtype: of the weights; ``auto`` for that in which they are stored.
        trust_remote_code: whether code that comes with the model may run.
        options: further ones of ``from_pretrained``.

    Raises:
        ArtefactError: the folder holds no such model, or weights are missing, which transformers would draw at random.
    """
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise ArtefactError(
            f"{folder}: not a loadable causal language model", found=error, mend="see whether the folder is complete"
        ) from error
    wrong = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
    if wrong:
        raise ArtefactError(
            f"{folder}: weights are missing or of the wrong shape",
            found=", ".join(wrong[:5]),
            expected="every weight of the architecture in config.json",
            mend="see whether the folder is complete",
        )
    return model


def quantised_loading(kind: str, device: torch.device) -> dict[str, Any]:
    """Return the options of ``load_model`` that load frozen weights in 8 or 4 bits (QLoRA, Dettmers et al. 2023).

    Args:
        kind: ``none``, ``8bit`` or ``4bit``.
        device: that the weights go to.

    Raises:
        ConfigurationError: there is no GPU.
    """
    if kind == "none":
        return {}
    if device.type != "cuda":
        raise ConfigurationError(
            f"quantisation: {kind}", found="no GPU", expected="a GPU and bitsandbytes", mend="set quantisation: none"
        )
    bits = {"load_in_8bit": True} if kind == "8bit" else {
        "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16
    }  # fmt: skip
    return {"quantization_config": BitsAndBytesConfig(**bits), "device_map": {"": device}}


def embeddings(model: PreTrainedModel) -> tuple[nn.Module, nn.Module, bool]:
    """Return the input embedding, the LM head, and whether they share one matrix.

    Raises:
        InputError: the model has no LM head that its API knows of.
    """
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    if last is None:
        raise InputError(
            f"{type(model).__name__}: get_output_embeddings() gives nothing", expected="a causal language model with an LM head"
        )
    return first, last, first.weight is last.weight


def read_categories(path: str | Path) -> NDArray[np.str_]:
    """Read how each row of an alignment was found.

    Args:
        path: ``tokens.parquet`` of the alignment.

    Returns:
        One of ``categories.CATEGORIES`` for each target id, shape (|V_target|,).

    Raises:
        ArtefactError: the file is missing or has not one row per target id.
    """
    try:
        table = pq.read_table(path, columns=["id", "category"])
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise ArtefactError(f"{path}: no readable table of tokens", found=error, mend="make the alignment again") from error
    if not np.array_equal(table["id"].to_numpy(), np.arange(table.num_rows)):
        raise ArtefactError(f"{path}: not one row per target id", expected="ids 0, 1, ... in order", mend="make it again")
    return np.array(table["category"].to_pylist(), dtype=str)


def initialise(
    source: Path,
    folder: Path,
    alignment: StoredAlignment,
    categories: NDArray[np.str_] | None,
    roles: Mapping[str, int],
    settings: InitialisationSettings,
    fitted: FittedRows | None = None,
    *,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Write the checkpoint that has the rows of an alignment, without a tokenizer.

    All tensors but the embeddings keep their type and bytes. Memory holds a block of rows; E is mapped from its file.

    Args:
        source: folder of the source model, safetensors.
        folder: an empty folder.
        alignment: A, shape (|V_target|, |V_source|), and what belongs to it.
        categories: how each row was found, shape (|V_target|,); needed where ``settings.needs_categories``.
        roles: special ids of the target tokenizer; ``bos``, ``eos`` and ``pad`` are set in the model's configuration and
            generation configuration, to ``None`` where the tokenizer has no such token.
        settings: of the initialisation.
        fitted: rows fitted to this model, or ``None``.
        trust_remote_code: run Python code that comes with the model.

    Returns:
        What was done, for ``initialisation.json``.

    Raises:
        InputError: the model and the alignment do not fit, or the model cannot be given another vocabulary.
        ArtefactError: the model's files are damaged or incomplete.
        ConfigurationError: settings that need untied embeddings, for a model with tied ones.
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
            mend="set initialisation.untie of the alignment to false",
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
        "settings": asdict(settings),
        "ablation": MEANING[settings.ablation.kind],
        "rows": size,
        "padding_rows": padded,
        "tied": tied,
        "tied_in_source": old.tied,
        "fitted": None if fitted is None else {"rows": len(fitted.ids), **fitted.metadata},
        "tensors": {key: file for key, (file, _) in made.items()},
    }


def check_settings(settings: InitialisationSettings, tied: bool, source: Path) -> None:
    """Check that settings of two matrices do not meet a model that has one.

    Raises:
        ConfigurationError: input and output rows shall have different lengths, but are the same rows.
    """
    if tied and settings.scale["input"] != settings.scale["output"]:
        raise ConfigurationError(
            "initialisation.scale: input and output differ, but the model's embeddings are one matrix",
            found=f"input {settings.scale['input']}, output {settings.scale['output']}; {source} ties them",
            expected="the same number twice",
            mend="set `untie: true` beside it, or give both the same number",
        )


def check_fitted(fitted: FittedRows, size: int, width: int, tied: bool, source: Path) -> None:
    """Check that fitted rows belong to a model and an alignment.

    Raises:
        ArtefactError: they were made for another vocabulary, width, or sharing of the embeddings.
    """
    found = (fitted.metadata["vocabulary_size"], fitted.input.shape[1], fitted.metadata["tied"])
    if found != (size, width, tied):
        raise ArtefactError(
            f"{source}: the fitted rows are not of this model and alignment",
            found=f"vocabulary {found[0]}, width {found[1]}, {'one matrix' if found[2] else 'two matrices'}",
            expected=f"vocabulary {size}, width {width}, {'one matrix' if tied else 'two matrices'}",
            mend="delete them and run again",
        )


def initial_std(config: PretrainedConfig) -> float:
    """Return the standard deviation that transformers draws a model's first weights with (``_init_weights``)."""
    text = config.get_text_config()
    names = ("initializer_range", "init_std", "initializer_factor")
    return next((float(value) for name in names if (value := getattr(text, name, None))), 0.02)


def new_tensors(
    source: Path,
    old: Embeddings,
    tied: bool,
    alignment: StoredAlignment,
    categories: NDArray[np.str_] | None,
    settings: InitialisationSettings,
    std: float,
    padded: int,
    fitted: FittedRows | None,
) -> dict[str, tuple[str, Made]]:
    """Return the new embeddings as tensors that are made while they are written.

    Args:
        source: folder of the source model.
        old: its embeddings.
        tied: whether the new model's embeddings are one matrix.
        alignment: A.
        categories: of the rows, or ``None``.
        settings: of the initialisation.
        std: of fresh rows.
        padded: number of padding rows.
        fitted: rows fitted to the model, or ``None``.

    Returns:
        By key: the file that the tensor belongs to, and the tensor. A model that was tied gets its second matrix in the
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
    """Return what a fit does to the rows of one matrix.

    Args:
        fitted: rows and calibration.
        tied: whether there is one matrix.
        stream: ``INPUT`` (also of a shared matrix) or ``OUTPUT``.
    """
    steps = [replacing(fitted.ids, fitted.input if stream == INPUT else fitted.output)]
    if tied or stream == OUTPUT:
        steps.append(shifting(fitted.bias, fitted.direction))
    return steps


def one_matrix(first: sparse.csr_matrix, last: sparse.csr_matrix, which: str) -> sparse.csr_matrix:
    """Return the matrix for tied embeddings.

    Args:
        first: A of the input embedding.
        last: A of the LM head.
        which: ``input``, ``output`` or ``mean`` of both.
    """
    if first is last or which == "input":
        return first
    return last if which == "output" else sparse.csr_matrix((first + last) * np.float32(0.5))


def free_rows(fill: NDArray[np.int8], categories: NDArray[np.str_] | None, replaced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows may get another length: those made of source rows that are not the row of the same token.

    Args:
        fill: codes of ``fills.FILLS``, shape (|V_target|,).
        categories: of the rows, shape (|V_target|,).
        replaced: rows that an ablation replaced, which are no longer what their category says.

    Raises:
        ArtefactError: there are no categories, or not one for each row.
    """
    if categories is None or len(categories) != len(fill):
        raise ArtefactError(
            "the table of tokens does not belong to the alignment",
            found="no table" if categories is None else f"{len(categories)} rows",
            expected=f"{len(fill)} rows",
            mend="give tokens.parquet from beside the matrix; make both again if they do not fit",
        )
    return (fill == FILLS["none"]) & (~np.isin(categories, TWINS) | replaced)


def row_function(
    source: SourceRows,
    matrix: sparse.csr_matrix,
    alignment: StoredAlignment,
    free: NDArray[np.bool_] | None,
    settings: InitialisationSettings,
    std: float,
    stream: int,
) -> RowFunction:
    """Return what makes the rows of one matrix; a further correction of rows is one more step at the end.

    Args:
        source: E, H, or the bias of the LM head.
        matrix: A for this matrix.
        alignment: its fills, ordinary source tokens and seed.
        free: rows that may get another length, bool, shape (|V_target|,), or ``None`` where none does.
        settings: of the initialisation.
        std: of fresh rows.
        stream: ``INPUT``, ``OUTPUT`` or ``BIAS``; the entries of a bias keep their size.
    """
    kind, width = settings.ablation.kind, source.shape[1] if len(source.shape) > 1 else None
    if kind in WHOLE_ROWS:
        fresh = drawn(width, std, settings.ablation.seed, stream)
        return fresh if kind == "random_all" else kept_by_id(source, fresh)
    steps: list[Step] = []
    if alignment.fill.any():
        steps.append(filling(alignment.fill, moments(source, alignment.ordinary), alignment.seed, stream))
    if free is not None and stream != BIAS:
        lengths = wanted_lengths(settings.norm_matching, matrix, source, alignment.ordinary)
        steps.append(rescaling(free, lengths, settings.scale["input" if stream == INPUT else "output"]))
    return followed(combined(matrix, source), steps)
