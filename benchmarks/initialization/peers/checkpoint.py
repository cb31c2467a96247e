"""Shared parts of the peers: their options, and the checkpoint folder that each writes."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""Names of the files that make up a tokenizer folder."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def options(description: str, methods: Sequence[str], *, corpus: bool = False) -> argparse.Namespace:
    """Parse the command line of all peers.

    Args:
        description: text about the peer.
        methods: values of ``--method``; the first is the default.
        corpus: whether the peer needs training text.

    Returns:
        ``model``, ``tokenizer``, ``output``, ``corpus`` (paths), ``method``, ``dtype`` (names) and ``seed``.

    Raises:
        SystemExit: a missing or unknown option, or an output that exists.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True, help="folder of the source model, with its tokenizer")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the target tokenizer")
    parser.add_argument("--output", type=Path, required=True, help="checkpoint folder to write; must not exist yet")
    parser.add_argument("--method", choices=list(methods), default=methods[0])
    parser.add_argument(
        "--corpus",
        type=Path,
        required=corpus,
        help="JSONL file with a `text` on each line" if corpus else "not used by this peer",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32", help="dtype of the written weights")
    arguments = parser.parse_args()
    if arguments.output.exists():
        parser.error(f"{arguments.output} exists: remove it or name another folder")
    for folder in (arguments.model, arguments.tokenizer):
        if not (folder / "tokenizer.json").is_file():
            parser.error(f"{folder} has no tokenizer.json")
    return arguments


def load_model(folder: Path) -> PreTrainedModel:
    """Load a causal language model in float32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def rows_needed(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number of embedding rows for a tokenizer's ids: its highest id plus one."""
    return max(tokenizer.get_vocab().values()) + 1


def copy_tokenizer(source: Path, destination: Path) -> None:
    """Copy a tokenizer's files, byte for byte, over those in another folder."""
    destination.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        (destination / name).unlink(missing_ok=True)
        if (source / name).is_file():
            shutil.copyfile(source / name, destination / name)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int | None]:
    """Return BOS, EOS and padding ids for a model's configuration; None for roles without a token."""
    return {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}


def write_checkpoint(
    model: PreTrainedModel, arguments: argparse.Namespace, *, packages: Sequence[str], started: float, notes: dict[str, Any]
) -> None:
    """Write a model with the target tokenizer beside it, and ``peer.json``, which says how it was made.

    The folder appears complete or not at all.

    Args:
        model: the model with one embedding row for each id of the target tokenizer.
        arguments: the peer's options.
        packages: distributions whose versions are recorded.
        started: ``time.monotonic()`` at the peer's start; the seconds since then are recorded.
        notes: further entries to record.

    Raises:
        SystemExit: the model has fewer rows than the tokenizer has ids, or weights that are not finite.
    """
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    for name, matrix in (("input", model.get_input_embeddings()), ("output", model.get_output_embeddings())):
        if matrix.weight.shape[0] < rows_needed(tokenizer):
            sys.exit(f"{name} embeddings: {matrix.weight.shape[0]} rows for ids up to {rows_needed(tokenizer) - 1}")
        if not torch.isfinite(matrix.weight).all():
            sys.exit(f"{name} embeddings: not all weights are finite")
    for key, value in special_ids(tokenizer).items():
        setattr(model.config, key, value)
        if model.generation_config is not None:
            setattr(model.generation_config, key, value)
    partial = arguments.output.with_name(f".{arguments.output.name}.partial-{os.getpid()}")
    try:
        model.to(DTYPES[arguments.dtype]).save_pretrained(partial)
        copy_tokenizer(arguments.tokenizer, partial)
        record = {
            "peer": Path(sys.argv[0]).stem,
            "method": arguments.method,
            "seed": arguments.seed,
            "dtype": arguments.dtype,
            "rows": model.get_input_embeddings().weight.shape[0],
            "seconds": round(time.monotonic() - started, 1),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", *packages)},
            **notes,
        }
        (partial / "peer.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        partial.rename(arguments.output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
