"""Configuration and generation settings of a model that gets another tokenizer."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

from tokalign.common.errors import ArtifactError
from tokalign.models.safetensors_file import DTYPES

log = logging.getLogger(__name__)

SPECIAL_IDS = ("bos", "eos", "pad")


def generation_config(source: Path, model: PreTrainedModel) -> GenerationConfig:
    """Return the generation settings of a checkpoint, or those that follow from its configuration.

    Raises:
        ArtifactError: generation_config.json is damaged.
    """
    if not (source / "generation_config.json").is_file():
        return copy.deepcopy(model.generation_config)
    try:
        return GenerationConfig.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{source}/generation_config.json: cannot be read", found=error, mend="get the file again") from error


def save_configuration(
    source: Path,
    folder: Path,
    model: PreTrainedModel,
    config: PretrainedConfig,
    generation: GenerationConfig,
    dtype: str,
    trust_remote_code: bool,
) -> None:
    """Write config.json, generation_config.json and, the model's own code, if any.

    Args:
        source: folder of the source model.
        folder: folder to write to.
        model: the source model without weights.
        config: configuration of the new model.
        generation: generation settings of the new model.
        dtype: type of the embedding as safetensors names it; recorded if the configuration names none.
        trust_remote_code: whether the model may have its own code.

    Raises:
        ArtifactError: the generation settings contradict each other.
    """
    config.architectures = [type(model).__name__]
    if config.dtype is None:
        config.dtype = DTYPES[dtype]
    config.save_pretrained(folder)
    try:
        generation.save_pretrained(folder)
    except ValueError as error:
        raise ArtifactError(
            f"{source}/generation_config.json: the settings contradict each other",
            found=str(error).strip().splitlines()[0],
            mend="correct the file of the source model",
        ) from error
    if trust_remote_code:
        for file in sorted(source.glob("*.py")):
            shutil.copyfile(file, folder / file.name)


def set_special_ids(config: PretrainedConfig, generation: GenerationConfig, roles: Mapping[str, int]) -> None:
    """Set the special ids of both configurations to those of a tokenizer.

    Args:
        config: changed in place, with its text configuration.
        generation: changed in place.
        roles: role to id.
    """
    parts: Iterable[Any] = {id(c): c for c in (config, config.get_text_config(), generation)}.values()
    for part in parts:
        for role in SPECIAL_IDS:
            setattr(part, f"{role}_token_id", roles.get(role))
    if "turn_end" in roles and "eos" in roles and roles["turn_end"] != roles["eos"]:
        generation.eos_token_id = [roles["eos"], roles["turn_end"]]
    if generation.pad_token_id is None:
        generation.pad_token_id = roles.get("eos")
    for name in ("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids"):
        if getattr(generation, name, None) is not None:
            log.warning("generation setting %s named ids of the old tokenizer and was removed", name)
            setattr(generation, name, None)
