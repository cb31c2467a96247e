"""Checkpoint files: find the embedding tensors, and copy a checkpoint with new ones."""

from __future__ import annotations

import json
import logging
import mmap
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

from tokalign.common.errors import ArtifactError, InputError
from tokalign.common.files import atomic_file, read_json
from tokalign.models.safetensors_file import (
    DTYPES,
    INDEX,
    WEIGHTS,
    Copied,
    Made,
    Tensor,
    read_safetensors_header,
    read_safetensors_metadata,
    weight_files,
    write_safetensors,
)

log = logging.getLogger(__name__)

COMPARED_ROWS = 4096


@dataclass(frozen=True)
class Stored:
    """A tensor in a checkpoint's files.

    Attributes:
        key: name in the file, which may differ from the name in the model.
        file: name of the file in the folder.
        tensor: type, shape and place in the file.
    """

    key: str
    file: str
    tensor: Tensor


@dataclass(frozen=True)
class Embeddings:
    """The tensors of a checkpoint that are its input and output embedding.

    Attributes:
        input: the input embedding, shape (rows, d).
        output: weight of the LM head; the same as ``input`` if they are tied.
        bias: bias of the LM head, shape (rows,), or ``None``.
        tied: whether input and output embedding are one matrix.
        input_place: key and file for a separate input embedding.
        output_place: key and file for a separate weight of the LM head. If no tensor is stored at a place, it has the model's
            name for the matrix and the file of the other one.
    """

    input: Stored
    output: Stored
    bias: Stored | None
    tied: bool
    input_place: tuple[str, str]
    output_place: tuple[str, str]


def empty_model(source: Path | PretrainedConfig, *, folder: Path, trust_remote_code: bool = False) -> PreTrainedModel:
    """Return a causal language model without weights (on the device "meta").

    Args:
        source: a folder with config.json, or the configuration itself.
        folder: folder to name in error messages.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        ArtifactError: no such model can be built.
    """
    try:
        config = source
        if isinstance(source, Path):
            config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise ArtifactError(
            f"{folder}/config.json: describes no causal language model that can be built",
            found=error,
            mend="see whether the folder is complete",
        ) from error


def headers(folder: Path) -> dict[str, Stored]:
    """Return the tensors of all safetensors files of a checkpoint by their key.

    Raises:
        InputError: files are missing or damaged.
    """
    return {
        key: Stored(key, file, tensor)
        for file in weight_files(folder)
        for key, tensor in read_safetensors_header(folder / file).items()
    }


def names_in_model(model: PreTrainedModel, keys: Iterable[str]) -> dict[str, str | None]:
    """Return the model's name for each key of a file, as ``from_pretrained`` would find it.

    Keys may carry or lack the prefix of the base model, or come from an older version (GPT-NeoX: ``embed_out``). The rules are
    those of transformers 5.

    Returns:
        Name by key; ``None`` for tensors that are merged or split on loading.
    """
    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    prefix, state = model.base_model_prefix, model.state_dict()
    names: dict[str, str | None] = {}
    for key in sorted(keys, key=dot_natural_key):
        name, converter = rename_source_key(key, renamings, converters, prefix, state)
        if name not in state and key in state:
            name, converter = rename_source_key(key, [], [], prefix, state)
        names[key] = name if converter is None else None
    return names


def module_name(model: nn.Module, module: nn.Module) -> str:
    """Return the name of a module in its model."""
    return next(name for name, candidate in model.named_modules() if candidate is module)


def find_embeddings(folder: Path, model: PreTrainedModel, stored: Mapping[str, Stored]) -> Embeddings:
    """Find the embeddings of a model in its checkpoint, as the model's API names them.

    A model that its configuration calls tied is tied if one matrix is stored, or two equal ones; two different ones stay
    separate, as in ``from_pretrained``.

    Args:
        folder: folder of the checkpoint.
        model: the model without weights.
        stored: all tensors of the checkpoint.

    Raises:
        InputError: the model's API names no LM head, or the model looks up token ids in a third place.
        ArtifactError: a matrix is missing from the files, or has the wrong shape or type.
    """
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    if first is None or last is None:
        raise InputError(
            f"{folder}: {type(model).__name__}: get_input_embeddings() or get_output_embeddings() gives nothing",
            expected="a causal language model with an input embedding and an LM head",
        )
    if getattr(model.config.get_text_config(), "hidden_size_per_layer_input", None):
        raise InputError(
            f"{folder}: {type(model).__name__} has an embedding for every layer beside the input embedding",
            expected="one matrix that token ids are looked up in",
            mend="choose another model; this one cannot be given a new tokenizer here",
        )
    names = [f"{module_name(model, module)}.weight" for module in (first, last)]
    found: dict[str, list[Stored]] = {}
    for key, name in names_in_model(model, stored).items():
        if name is not None:
            found.setdefault(name, []).append(stored[key])

    def one(name: str, shape: torch.Size) -> Stored | None:
        candidates = found.get(name, [])
        if not candidates:
            return None
        place = folder / candidates[0].file
        if len(candidates) > 1 or candidates[0].tensor.shape != tuple(shape):
            raise ArtifactError(
                f"{place}: {name} is not stored as the model needs it",
                found=", ".join(f"{entry.key} {list(entry.tensor.shape)}" for entry in candidates),
                expected=f"one tensor of shape {list(shape)}",
                mend="take config.json and weights from the same model",
            )
        return candidates[0]

    both = [one(name, module.weight.shape) for name, module in zip(names, (first, last), strict=True)]
    tied = first.weight is last.weight
    if tied and all(both):
        tied = same_values(folder, *both)
        if not tied:
            log.warning("%s: config.json ties the embeddings, but two different ones are stored: they stay apart", folder)
    lacking = [name for name, entry in zip(names, both, strict=True) if entry is None]
    if len(lacking) > tied:
        raise ArtifactError(
            f"{folder}: the weights lack an embedding",
            found=f"no {' and no '.join(lacking)} in {', '.join(weight_files(folder))}",
            expected="every weight of the architecture in config.json",
            mend="see whether the folder is complete (and tie_word_embeddings in config.json)",
        )
    bias = None
    if getattr(last, "bias", None) is not None:
        name = names[1].removesuffix("weight") + "bias"
        bias = one(name, last.bias.shape)
        if bias is None:
            raise ArtifactError(f"{folder}: the weights lack {name}", mend="see whether the folder is complete")
    present = next(entry for entry in both if entry)
    places = [(entry.key, entry.file) if entry else (name, present.file) for name, entry in zip(names, both, strict=True)]
    first_stored, last_stored = (present, present) if tied else both
    return Embeddings(first_stored, last_stored, bias, tied, *places)


def map_tensor(folder: Path, entry: Stored) -> torch.Tensor:
    """Map a tensor of a checkpoint into memory; its bytes are read on use.

    Raises:
        ArtifactError: the tensor does not hold floating-point numbers that torch can compute with.
    """
    if entry.tensor.dtype not in DTYPES:
        raise ArtifactError(
            f"{folder / entry.file}: {entry.key} is not an embedding that can be combined",
            found=entry.tensor.dtype,
            expected=f"one of {', '.join(DTYPES)}",
            mend="give a model that is not quantized",
        )
    dtype = getattr(torch, DTYPES[entry.tensor.dtype])
    with (folder / entry.file).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # torch requires writable memory
    start, length = entry.tensor.start, entry.tensor.length
    if start % dtype.itemsize:  # only files that the safetensors library did not write
        return torch.frombuffer(bytearray(mapped[start : start + length]), dtype=dtype).reshape(entry.tensor.shape)
    return torch.frombuffer(mapped, dtype=dtype, count=length // dtype.itemsize, offset=start).reshape(entry.tensor.shape)


def same_values(folder: Path, one: Stored, other: Stored) -> bool:
    """Return whether two tensors of a checkpoint are equal."""
    if (one.tensor.dtype, one.tensor.shape) != (other.tensor.dtype, other.tensor.shape):
        return False
    left, right = map_tensor(folder, one), map_tensor(folder, other)
    pairs = zip(left.split(COMPARED_ROWS), right.split(COMPARED_ROWS), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def check_shapes(
    folder: Path, model: PreTrainedModel, stored: Mapping[str, Stored], made: Mapping[str, tuple[str, Made]], dropped: set[str]
) -> None:
    """Check that the tensors of a new checkpoint are those its model expects.

    Args:
        folder: folder of the source checkpoint, for error messages.
        model: the new model without weights.
        stored: tensors of the source checkpoint.
        made: the new tensors with their files, by key.
        dropped: keys that the new checkpoint lacks.

    Raises:
        InputError: another tensor also depends on the vocabulary size.
    """
    shapes = {key: entry.tensor.shape for key, entry in stored.items() if key not in dropped}
    shapes |= {key: tuple(tensor.shape) for key, (_, tensor) in made.items()}
    state = model.state_dict()
    for key, name in names_in_model(model, shapes).items():
        if name in state and tuple(state[name].shape) != shapes[key]:
            place = stored[key].file if key in stored else made[key][0]
            raise InputError(
                f"{folder / place}: {key} does not fit the new vocabulary",
                found=f"shape {list(shapes[key])}",
                expected=f"shape {list(state[name].shape)} in a {type(model).__name__} of the new size",
                mend="choose another model; only input and output embeddings can be replaced",
            )


def write_weights(
    source: Path, folder: Path, stored: Mapping[str, Stored], made: Mapping[str, tuple[str, Made]], dropped: set[str]
) -> None:
    """Write the weight files of a new checkpoint, one by one, tensor by tensor.

    Unchanged files are copied as they are; in the others, all tensors except the new ones keep type and bytes. A file that would
    hold no tensor is left out.

    Args:
        source: folder of the source checkpoint.
        folder: folder of the new checkpoint.
        stored: tensors of the source checkpoint.
        made: new tensors with their files, by key.
        dropped: keys to leave out.
    """
    for file in weight_files(source):
        own = {key: entry for key, entry in stored.items() if entry.file == file}
        new = {key: tensor for key, (place, tensor) in made.items() if place == file}
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        if not new and not dropped & own.keys():
            shutil.copyfile(source / file, folder / file)
            continue
        kept = {key: Copied(source / file, entry.tensor) for key, entry in own.items() if key not in dropped}
        if not kept and not new:
            continue
        write_safetensors(folder / file, {**kept, **new}, read_safetensors_metadata(source / file))
    if weight_files(source) != [WEIGHTS]:
        write_index(source, folder, stored, made, dropped)


def write_index(
    source: Path, folder: Path, stored: Mapping[str, Stored], made: Mapping[str, tuple[str, Made]], dropped: set[str]
) -> None:
    """Write the index of a checkpoint of several files, as transformers does; arguments as ``write_weights``."""
    index: dict[str, Any] = read_json(source / INDEX)
    kept = {key: entry for key, entry in stored.items() if key not in dropped and key not in made}
    files = {key: entry.file for key, entry in kept.items()} | {key: file for key, (file, _) in made.items()}
    change = sum(tensor.length for _, tensor in made.values()) - sum(
        entry.tensor.length for key, entry in stored.items() if key not in kept
    )
    elements = sum(_elements(tensor.shape) for _, tensor in made.values()) - sum(
        _elements(entry.tensor.shape) for key, entry in stored.items() if key not in kept
    )
    metadata = index.get("metadata", {})
    for name, difference in (("total_size", change), ("total_parameters", elements)):
        if isinstance(metadata.get(name), int):
            metadata[name] += difference
    text = json.dumps({**index, "metadata": metadata, "weight_map": files}, indent=2, sort_keys=True) + "\n"
    with atomic_file(folder / INDEX) as partial:
        partial.write_text(text, encoding="utf-8")


def _elements(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()
