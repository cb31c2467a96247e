"""Loading of models: weights, precision, placement, and checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.models.device import choose_precision


def load_model(
    folder: str | Path, *, dtype: torch.dtype | str = "auto", trust_remote_code: bool = False, **options: Any
) -> PreTrainedModel:
    """Load a causal language model from a local folder, safetensors only.

    Args:
        folder: folder of the model.
        dtype: type of the weights; ``auto`` for the stored type.
        trust_remote_code: whether code that comes with the model may run.
        options: further options of ``from_pretrained``.

    Raises:
        ArtifactError: the folder holds no such model, or weights are missing, which transformers would initialize at random.
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
        raise ArtifactError(
            f"{folder}: not a loadable causal language model", found=error, mend="see whether the folder is complete"
        ) from error
    wrong = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
    if wrong:
        raise ArtifactError(
            f"{folder}: weights are missing or of the wrong shape",
            found=", ".join(wrong[:5]),
            expected="every weight of the architecture in config.json",
            mend="see whether the folder is complete",
        )
    return model


def quantized_loading(kind: str, device: torch.device) -> dict[str, Any]:
    """Return the options of ``load_model`` for frozen weights in 8 or 4 bits (QLoRA, Dettmers et al. 2023).

    Args:
        kind: ``none``, ``8bit`` or ``4bit``.
        device: device of the weights.

    Raises:
        ConfigurationError: there is no GPU.
    """
    if kind == "none":
        return {}
    if device.type != "cuda":
        raise ConfigurationError(
            f"quantization: {kind}", found="no GPU", expected="a GPU and bitsandbytes", mend="set quantization: none"
        )
    bits = {"load_in_8bit": True} if kind == "8bit" else {
        "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16
    }  # fmt: skip
    return {"quantization_config": BitsAndBytesConfig(**bits), "device_map": {"": device}}


def embeddings(model: PreTrainedModel) -> tuple[nn.Module, nn.Module, bool]:
    """Return the input embedding, the LM head, and whether they share one matrix.

    Raises:
        InputError: the model's API names no LM head.
    """
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    if last is None:
        raise InputError(
            f"{type(model).__name__}: get_output_embeddings() gives nothing", expected="a causal language model with an LM head"
        )
    return first, last, first.weight is last.weight


def load_for_evaluation(folder: str | Path, *, precision: str, trust_remote_code: bool) -> PreTrainedModel:
    """Load a model in evaluation mode, onto the GPU if there is one.

    Args:
        folder: folder of the model.
        precision: ``float32``, ``bfloat16`` or ``auto``.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        ArtifactError: the folder holds no model, or weights are missing.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ArtifactError(f"{folder}: no model there", expected="config.json and safetensors", mend="make the model first")
    transformers.utils.logging.disable_progress_bar()
    model = load_model(folder, dtype=getattr(torch, choose_precision(precision)), trust_remote_code=trust_remote_code)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def check_fit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a model has an embedding row for every id of a tokenizer.

    Raises:
        ArtifactError: the model has too few rows.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise ArtifactError(
            f"{model.name_or_path}: the tokenizer does not fit the model",
            found=f"token ids up to {highest}, {rows} embedding rows",
            expected="a row for every id",
            mend="evaluate the model with the tokenizer it was made for",
        )


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


def context_length(model: PreTrainedModel) -> int | None:
    """Return the most tokens a model can read at once, or ``None`` if its configuration does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)
