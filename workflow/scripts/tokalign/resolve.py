"""Bring a tokenizer or a model, wherever it comes from, into the form that all later steps read."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tokalign.errors import ConfigurationError, InputError
from tokalign.files import atomic_directory, sha256_file, write_json
from tokalign.gguf_tokenizer import SAMPLES, read_gguf_tokenizer
from tokalign.safetensors_file import DTYPES, INDEX, WEIGHTS, Tensor, read_safetensors_header, weight_files
from tokalign.sources import Located
from tokalign.tokens import encode
from tokalign.vocabulary import ROLES, Vocabulary, check_usable, describe, write_vocabulary

log = logging.getLogger(__name__)

NO_LIMIT = 10**12
"""transformers writes 1e30 where a tokenizer has no longest text."""


# ------------------------------------------------------------------------------------------------------ tokenizers


def load_tokenizer(located: Located, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a folder or a GGUF file; no network.

    Where the classes of transformers build something else than the folder's tokenizer.json says (they do for some
    models by the name of the model type), tokenizer.json counts.

    Raises:
        InputError: the folder holds no tokenizer that can be loaded.
    """
    if located.kind == "gguf":
        return read_gguf_tokenizer(located.path)
    folder = located.path
    file = folder / "tokenizer.json"
    if file.is_file() and not (folder / "tokenizer_config.json").is_file():
        return PreTrainedTokenizerFast(tokenizer_file=str(file), name_or_path=str(folder))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(
            f"{folder}: no tokenizer can be loaded from here",
            found=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            expected="tokenizer.json and tokenizer_config.json",
            mend="save it with AutoTokenizer(...).save_pretrained(folder), or set trust_remote_code if you trust its code",
        ) from error
    if file.is_file():
        raw = Tokenizer.from_file(str(file))
        for text in SAMPLES:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if ids != raw.encode(text, add_special_tokens=False).ids:
                log.warning("%s: %s does not follow tokenizer.json; tokenizer.json is used", folder, type(tokenizer).__name__)
                return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return tokenizer


def set_special_tokens(tokenizer: PreTrainedTokenizerBase, special_tokens: Mapping[str, str | None], where: str) -> None:
    """Give tokens of the vocabulary a role; ``None`` leaves a role as it is.

    Raises:
        ConfigurationError: an unknown role, or a token that is not in the vocabulary (it would have no embedding).
    """
    vocabulary = tokenizer.get_vocab()
    for role, token in special_tokens.items():
        if role not in ROLES:
            raise ConfigurationError(f"{where}: special_tokens: unknown role", found=role, expected=f"one of {', '.join(ROLES)}")
        if token is None:
            continue
        if token not in vocabulary:
            raise ConfigurationError(
                f"{where}: special_tokens: {role}: not a token of this tokenizer",
                found=repr(token),
                expected="a token of its vocabulary, such as "
                + ", ".join(sorted(tokenizer.added_tokens_encoder, key=vocabulary.get)[:8]),
                mend="choose one of these",
            )
        tokenizer.add_special_tokens({f"{role}_token": token})


def save_tokenizer(
    tokenizer: PreTrainedTokenizerBase, source: Any, where: str, hf: Path, vocabulary_path: Path, info_path: Path
) -> Vocabulary:
    """Check a tokenizer and write its folder, its vocabulary and its info.json.

    Args:
        tokenizer: a fast tokenizer.
        source: what to record about its origin; a JSON value.
        where: what to call it in messages.
        hf: folder for ``AutoTokenizer.from_pretrained``.
        vocabulary_path: parquet file (`vocabulary.write_vocabulary`).
        info_path: JSON with size, roles, sha256 of tokenizer.json, model_max_length (tokens, or null), source.

    Raises:
        InputError: the tokenizer is of no use (`vocabulary.check_usable`) or changes when saved and loaded.
    """
    vocabulary = describe(tokenizer)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    check_usable(tokenizer, vocabulary, where)
    with atomic_directory(hf) as folder:
        tokenizer.save_pretrained(folder)
        again = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        same = all(again(text)["input_ids"] == tokenizer(text)["input_ids"] for text in SAMPLES)
        raw = Tokenizer.from_file(str(folder / "tokenizer.json"))  # which corpora are tokenised with
        same &= all(raw.encode(text, add_special_tokens=False).ids == encode(again, [text])[0] for text in SAMPLES)
        if not same or describe(again) != vocabulary:
            raise InputError(
                f"{where}: the tokenizer changes when it is saved and loaded again",
                found=f"class {type(tokenizer).__name__}, loaded as {type(again).__name__}",
                mend='give a folder whose tokenizer_config.json says "tokenizer_class": "PreTrainedTokenizerFast"',
            )
        digest = sha256_file(folder / "tokenizer.json")
    write_vocabulary(vocabulary, vocabulary_path)
    longest = tokenizer.model_max_length
    write_json(
        info_path,
        {
            "size": vocabulary.size,
            "roles": vocabulary.roles,
            "sha256": digest,
            "model_max_length": None if longest is None or longest > NO_LIMIT else int(longest),
            "source": source,
        },
    )
    log.info("%s: %d tokens, roles %s", where, vocabulary.size, vocabulary.roles)
    return vocabulary


# ---------------------------------------------------------------------------------------------------------- models


def resolve_model(
    located: Located, source: Any, trust_remote_code: bool, tokenizer_info: Mapping[str, Any], hf: Path
) -> dict[str, Any]:
    """Make a model loadable from one folder and describe it, without loading its weights.

    The files of a folder are linked, not copied; a GGUF model is dequantised to float32.

    Args:
        located: where the model is.
        source: what to record about its origin; a JSON value.
        trust_remote_code: run Python code that comes with the model.
        tokenizer_info: info.json of the model's tokenizer.
        hf: the folder that shall appear.

    Returns:
        The content of the model's info.json.

    Raises:
        InputError: no usable model, or its embedding has fewer rows than the tokenizer has tokens.
    """
    with atomic_directory(hf) as folder:
        if located.kind == "gguf":
            _dequantise(located.path, folder)
        else:
            _link(located.path, folder, trust_remote_code)
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


def _link(source: Path, folder: Path, trust_remote_code: bool) -> None:
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
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to((source / name).resolve())


def _dequantise(path: Path, folder: Path) -> None:
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
    # safetensors makes files that only their owner can read.
    for file in folder.iterdir():
        file.chmod(0o644)


def describe_model(folder: Path, where: Path, trust_remote_code: bool) -> dict[str, Any]:
    """Describe a model by its configuration and the headers of its files.

    Args:
        folder: a folder with config.json and safetensors.
        where: what to call it in messages.
        trust_remote_code: run Python code that comes with the model.

    Returns:
        architecture, model_type, parameters (tied ones counted once), dtype (of most parameters in the files),
        hidden_size, embedding_rows, tied, max_position_embeddings, files {name: {bytes, sha256}}.

    Raises:
        InputError: not a causal language model of known type, quantised, damaged, or its files do not fit its configuration.
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
            f"{where}: the model is quantised",
            found=f"quantization_config {config.quantization_config}",
            expected="weights in float32, float16 or bfloat16",
            mend="give the model that was quantised, or a dequantised copy without quantization_config",
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
    """Check that the files hold a tensor for each embedding that transformers would otherwise initialise at random.

    Tensors are told by shape, as their names in the files may differ from those in the model (GPT-NeoX: embed_out).
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
