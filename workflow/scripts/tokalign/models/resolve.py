"""A model from any source as a folder that transformers can load, checked against its tokenizer."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from tokalign.common.errors import InputError
from tokalign.common.files import atomic_directory, link, sha256_file
from tokalign.fetch.sources import Located
from tokalign.models.safetensors_file import DTYPES, INDEX, WEIGHTS, Tensor, read_safetensors_header, weight_files


def resolve_model(
    located: Located, source: Any, trust_remote_code: bool, tokenizer_info: Mapping[str, Any], hf: Path
) -> dict[str, Any]:
    """Make a model loadable from one folder and describe it, without loading its weights.

    The files of a folder are linked, not copied; a GGUF model is dequantized to float32.

    Args:
        located: where the model is.
        source: what to record about its origin; a JSON value.
        trust_remote_code: run Python code that comes with the model.
        tokenizer_info: info.json of the model's tokenizer.
        hf: folder to create.

    Returns:
        The content of the model's info.json.

    Raises:
        InputError: no usable model, or its embedding has fewer rows than the tokenizer has tokens.
    """
    with atomic_directory(hf) as folder:
        if located.kind == "gguf":
            _dequantize(located.path, folder)
        else:
            _link_model(located.path, folder, trust_remote_code)
        info = describe_model(folder, located.path, trust_remote_code)
        size = int(tokenizer_info["size"])
        if info["embedding_rows"] < size:
            raise InputError(
                f"{located.path}: the tokenizer has more tokens than the model has embedding rows",
                found=f"{size} tokens, {info['embedding_rows']} rows",
                mend="name the tokenizer that belongs to this model",
            )
    padded = info["embedding_rows"] - size
    return info | {"tokenizer_size": size, "padded_rows": padded, "source": source}


def _link_model(source: Path, folder: Path, trust_remote_code: bool) -> None:
    """Link the files that make up a model."""
    if not (source / "config.json").is_file():
        raise InputError(
            f"{source}: no config.json",
            expected="a folder saved with save_pretrained",
            mend="give the folder that holds config.json; for a GGUF file use `gguf:`",
        )
    names = ["config.json", *weight_files(source)]
    names += [name for name in (INDEX, "generation_config.json") if (source / name).is_file()]
    if trust_remote_code:
        names += sorted(path.name for path in source.glob("*.py"))
    if WEIGHTS in names and INDEX in names:
        names.remove(INDEX)
    for name in names:
        link(source / name, folder / name)


def _dequantize(path: Path, folder: Path) -> None:
    """Write a GGUF model as safetensors in float32."""
    transformers.utils.logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            quantization_config=transformers.GgufConfig(dequantize=True),
            local_files_only=True,
        )
    except (ValueError, KeyError, NotImplementedError) as error:
        raise InputError(
            f"{path}: transformers cannot read this GGUF model",
            found=error,
            mend="give the model as a folder with safetensors (source: folder)",
        ) from error
    model.save_pretrained(folder)
    # safetensors creates files that only their owner can read.
    for file in folder.iterdir():
        file.chmod(0o644)


def describe_model(folder: Path, where: Path, trust_remote_code: bool) -> dict[str, Any]:
    """Describe a model from its configuration and the headers of its files.

    Args:
        folder: a folder with config.json and safetensors.
        where: name for error messages.
        trust_remote_code: run Python code that comes with the model.

    Returns:
        architecture, model_type, parameters (tied ones counted once), dtype (of most parameters in the files),
        hidden_size, embedding_rows, tied, max_position_embeddings, files {name: {bytes, sha256}}.

    Raises:
        InputError: not a causal language model of known type, quantized, damaged, or its files do not fit its configuration.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{where}: config.json describes no causal language model that can be built",
            found=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            mend="check config.json; for a model with its own Python code set trust_remote_code if you trust it",
        ) from error
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(
            f"{where}: the model is quantized",
            found=f"quantization_config {config.quantization_config}",
            expected="weights in float32, float16 or bfloat16",
            mend="give the model that was quantized, or a dequantized copy without quantization_config",
        )
    names = weight_files(folder)
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors |= read_safetensors_header(folder / name)
    text_config = config.get_text_config()
    tied = bool(text_config.tie_word_embeddings)
    source, output = model.get_input_embeddings(), model.get_output_embeddings()
    if source is None or output is None:
        raise InputError(f"{where}: the model has no input or no output embedding", found=type(model).__name__)
    rows, hidden = source.weight.shape
    if output.weight.shape[0] != rows:
        raise InputError(
            f"{where}: input and output embedding differ in length", found=f"{rows} and {output.weight.shape[0]} rows"
        )
    embeddings = [source] if tied else [source, output]
    _check_embeddings([tuple(module.weight.shape) for module in embeddings], tensors, where)
    parameters = {id(parameter): parameter.numel() for parameter in model.parameters()}
    if tied and output.weight is not source.weight:
        parameters.pop(id(output.weight), None)
    sizes = Counter[str]()
    for tensor in tensors.values():
        sizes[tensor.dtype] += math.prod(tensor.shape)
    dtype = sizes.most_common(1)[0][0]
    return {
        "architecture": type(model).__name__,
        "model_type": config.model_type,
        "parameters": sum(parameters.values()),
        "dtype": DTYPES.get(dtype, dtype),
        "hidden_size": hidden,
        "embedding_rows": rows,
        "tied": tied,
        "max_position_embeddings": getattr(text_config, "max_position_embeddings", None),
        "files": {
            name: {"bytes": os.stat(folder / name).st_size, "sha256": sha256_file(folder / name)}
            for name in ("config.json", *names)
        },
    }


def _check_embeddings(shapes: list[tuple[int, ...]], tensors: Mapping[str, Tensor], where: Path) -> None:
    """Check that the files hold each embedding, which transformers would otherwise initialize at random.

    Tensors are identified by shape, as their names in the files may differ from those in the model (GPT-NeoX: embed_out).
    """
    stored = Counter(tensor.shape for tensor in tensors.values())
    for shape, count in Counter(shapes).items():
        if stored[shape] < count:
            alike = [f"{name} {list(t.shape)}" for name, t in tensors.items() if t.shape[1:] == shape[1:]]
            raise InputError(
                f"{where}: the weights do not hold the embeddings that config.json describes",
                found=f"{stored[shape]} tensors of this shape; of this width: {', '.join(alike[:4]) or 'none'}",
                expected=f"{count} of shape {list(shape)} ({'input and output' if count > 1 else 'input or output'} embedding)",
                mend="take config.json and weights from the same model (keys vocab_size and tie_word_embeddings)",
            )
