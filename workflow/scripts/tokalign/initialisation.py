"""Initialisation: a model whose input and output embeddings are E' = A @ E, and whose special ids are the new tokenizer's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from scipy import sparse
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from tokalign.errors import ArtefactError, InputError

log = logging.getLogger(__name__)

SPECIAL_IDS = ("bos", "eos", "pad")


def load_model(folder: str | Path, *, dtype: torch.dtype | str = "auto", trust_remote_code: bool = False) -> PreTrainedModel:
    """Load a causal language model from a local folder, safetensors only.

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
        )
    except (OSError, ValueError, SafetensorError) as error:
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


def combine(matrix: sparse.csr_matrix, rows: torch.Tensor) -> torch.Tensor:
    """Return A @ E, computed in float32 and returned in the dtype of E.

    Args:
        matrix: A, shape (|V_target|, |V_source|).
        rows: E, shape (at least |V_source|, d) or (at least |V_source|,) for a bias; rows beyond the source tokenizer are padding.

    Returns:
        Shape (|V_target|, d) or (|V_target|,).
    """
    dense = rows[: matrix.shape[1]].detach().to(torch.float32).numpy()
    return torch.from_numpy(np.ascontiguousarray(matrix @ dense)).to(rows.dtype)


def initialise(model: PreTrainedModel, matrix: sparse.csr_matrix, roles: dict[str, int]) -> None:
    """Give a model the rows that an alignment makes, in place.

    Args:
        model: any causal language model of transformers, with tied or untied embeddings, on the CPU.
        matrix: A, shape (|V_target|, |V_source|).
        roles: special ids of the target tokenizer; ``bos``, ``eos`` and ``pad`` are set in the model's configuration and
            generation configuration, to ``None`` where the tokenizer has no such token.

    Raises:
        InputError: the model has fewer rows than the alignment has source tokens.
    """
    first, last, tied = embeddings(model)
    if len(first.weight) < matrix.shape[1]:
        raise InputError(
            "the alignment and the model do not fit",
            found=f"{len(first.weight)} embedding rows",
            expected=f"at least the {matrix.shape[1]} ids of the source tokenizer",
            mend="name the model's own tokenizer in its block",
        )
    new_first = combine(matrix, first.weight)
    new_last = None if tied else combine(matrix, last.weight)
    bias = getattr(last, "bias", None)
    new_bias = None if bias is None else combine(matrix, bias)
    model.resize_token_embeddings(matrix.shape[0], mean_resizing=False)
    first, last, still_tied = embeddings(model)
    if tied != still_tied:
        raise ArtefactError(
            f"{type(model).__name__}: resizing changed whether input and output embeddings are tied",
            found=still_tied,
            expected=str(tied),
        )
    with torch.no_grad():
        first.weight.copy_(new_first)
        if new_last is not None:
            last.weight.copy_(new_last)
        if new_bias is not None:
            last.bias.copy_(new_bias)
    set_special_ids(model, roles)


def set_special_ids(model: PreTrainedModel, roles: dict[str, int]) -> None:
    """Set the special ids of the configuration and of generation to a tokenizer's.

    Args:
        model: changed in place.
        roles: role to id.
    """
    generation: Any = model.generation_config
    for config in {id(c): c for c in (model.config, model.config.get_text_config(), generation)}.values():
        for role in SPECIAL_IDS:
            setattr(config, f"{role}_token_id", roles.get(role))
    if "turn_end" in roles and "eos" in roles and roles["turn_end"] != roles["eos"]:
        generation.eos_token_id = [roles["eos"], roles["turn_end"]]
    if generation.pad_token_id is None:
        generation.pad_token_id = roles.get("eos")
    for name in ("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids"):
        if getattr(generation, name, None) is not None:
            log.warning("generation setting %s named ids of the old tokenizer and was removed", name)
            setattr(generation, name, None)
