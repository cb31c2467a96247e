"""Train one stage of a recipe, or continue it where an interruption left it.

The state is in --state until the stage is finished; then the checkpoint appears at --output and the state is removed.
Several processes (torchrun, srun) train together; the first of them writes. launch_training.py starts them.
Exit status 75 means: stopped in time (signal or time limit); run the same command again to continue.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from tokalign.common import cli
from tokalign.common.errors import EXIT_CONTINUE, StageStoppedError
from tokalign.common.files import atomic_directory, read_json, remove_partial_directories, sha256_file, write_json
from tokalign.common.versions import VERSIONS
from tokalign.config.recipes import Execution, StageSettings, TrainSettings
from tokalign.models.device import choose_attention, choose_precision
from tokalign.models.loading import load_model, quantized_loading
from tokalign.tokenizers.loading import load_tokenizer
from tokalign.tokens.packing import PackedBlocks
from tokalign.training.callback import write_board
from tokalign.training.data import StageData
from tokalign.training.heldout import HeldoutText
from tokalign.training.model_card import write_model_card
from tokalign.training.policies import finished_model, new_row_mask, select_parameters
from tokalign.training.processes import Processes, join, leave, time_left
from tokalign.training.saved_states import check_fingerprint, check_room, exclusive, fingerprint
from tokalign.training.stage import train_stage
from tokalign.training.trainer import size_of_state

STARTUP_SECONDS = 60
"""Assumed time from the start of a job to the start of this script, if Slurm does not tell: Snakemake starts twice."""


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to start from")
    parser.add_argument("--blocks", type=Path, required=True, help="packed training blocks; manifest.json lies beside them")
    parser.add_argument("--mixed-blocks", type=Path, help="packed blocks of the corpus that is mixed in")
    parser.add_argument("--heldout", type=Path, help="token shard of held-out text")
    parser.add_argument("--alignment-tokens", type=Path, help="tokens.parquet of the alignment, for train: new_rows")
    cli.add_settings(parser, TrainSettings)
    cli.add_settings(parser, Execution, "--execution")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--used-sequences", type=int, nargs=2, required=True, help="sequences of both corpora that earlier stages trained on"
    )
    parser.add_argument("--minutes", type=float, help="time limit of the job")
    parser.add_argument("--labels", type=cli.settings, required=True, help="names of the blocks, for the model card")
    parser.add_argument("--model-info", type=Path, required=True, help="info.json of the source model")
    parser.add_argument("--tokenizer-info", type=Path, required=True, help="info.json of the new tokenizer")
    parser.add_argument("--corpus-manifest", type=Path, required=True, help="manifest.json of the training corpus")
    parser.add_argument("--state", type=Path, required=True, help="working folder")
    parser.add_argument("--threads", type=int, required=True, help="of each process")
    parser.add_argument("--output", type=Path, required=True, help="folder of the finished checkpoint")
    return parser


def stage_data(args: argparse.Namespace, execution: Execution) -> StageData:
    """Open the data on which the stage is trained and measured."""
    blocks = PackedBlocks.open(args.blocks)
    manifest = read_json(args.blocks.with_name("manifest.json"))
    eos = read_json(args.tokenizer_info)["roles"]["eos"]
    heldout = None
    if args.heldout and execution.heldout_steps:
        heldout = HeldoutText(args.heldout, execution.heldout_bytes, blocks.block, eos)
    return StageData(
        blocks=blocks,
        mixed=PackedBlocks.open(args.mixed_blocks) if args.mixed_blocks else None,
        used=tuple(args.used_sequences),
        eos=eos,
        bytes_per_token=manifest["bytes"] / (manifest["tokens"] + manifest["dropped_tokens"]),
        heldout=heldout,
    )


def fingerprint_of(args: argparse.Namespace, settings: StageSettings) -> dict[str, Any]:
    """Return everything the training depends on."""
    files = {file.name: file for file in sorted(args.model.glob("*.safetensors"))}
    files |= {"config.json": args.model / "config.json", "blocks": args.blocks}
    measured = args.heldout if settings.publish != "last" else None  # then it decides which weights are published
    for name, path in (("mixed blocks", args.mixed_blocks), ("alignment", args.alignment_tokens), ("heldout", measured)):
        if path:
            files[name] = path
    digests = {name: sha256_file(path) for name, path in files.items()}
    return fingerprint(digests, settings, args.seed, args.used_sequences, VERSIONS["training"])


def deadline_of(minutes: float | None, started: float) -> float | None:
    """Return when the job will be killed (``time.monotonic``), or ``None`` without a limit.

    Args:
        minutes: time limit of the job; ``None`` for no limit.
        started: when this script started.
    """
    if minutes is None:
        return None
    left = time_left(dict(os.environ))
    if left is None:
        return started + 60 * minutes - STARTUP_SECONDS
    return min(started + 60 * minutes, time.monotonic() + left)


def is_finished(output: Path, fingerprint: dict[str, Any]) -> bool:
    """Return whether a checkpoint of exactly this training has been published."""
    summary = output / "training.json"
    return summary.exists() and read_json(summary)["fingerprint"] == fingerprint


def main(args: argparse.Namespace) -> None:
    """Train, publish, clean up."""
    started = time.monotonic()
    torch.set_num_threads(args.threads)
    settings, execution, trust = args.settings.part(StageSettings), args.execution, args.settings.trust_remote_code
    processes = join()
    deadline = deadline_of(args.minutes, started) if processes.is_first else None
    transformers.utils.logging.disable_progress_bar()
    if not processes.is_first:
        logging.getLogger().setLevel(logging.WARNING)
        transformers.utils.logging.set_verbosity_error()
    lock = exclusive(args.state.with_name(args.state.name + ".lock")) if processes.is_first else contextlib.nullcontext()
    with lock:
        fingerprint = fingerprint_of(args, settings) if processes.is_first else {}
        if processes.any(processes.is_first and is_finished(args.output, fingerprint)):
            leave(processes)  # a process that outlived its workflow finished this training while this one waited
            return
        if processes.is_first:
            remove_partial_directories(args.output)
            args.state.mkdir(parents=True, exist_ok=True)
            check_fingerprint(args.state, fingerprint)
        processes.wait()
        try:
            train_and_publish(args, settings, execution, trust, processes, deadline, fingerprint)
        except StageStoppedError:
            if processes.is_first:
                raise
            sys.exit(EXIT_CONTINUE)  # the first process says why
        processes.wait()  # until the checkpoint is published: a process that exits breaks the connections of the others
    leave(processes)


def train_and_publish(
    args: argparse.Namespace,
    settings: StageSettings,
    execution: Execution,
    trust: bool,
    processes: Processes,
    deadline: float | None,
    fingerprint: dict[str, Any],
) -> None:
    """Train the stage; the first process writes the checkpoint and removes the state."""
    attention = choose_attention(execution.attention, choose_precision(settings.precision))
    options = quantized_loading(execution.quantization, processes.device)
    model = load_model(args.model, dtype=torch.float32, trust_remote_code=trust, attn_implementation=attention, **options)
    rows = model.get_input_embeddings().weight.shape[0]
    new_rows = new_row_mask(args.alignment_tokens, rows) if settings.train == "new_rows" else None
    select_parameters(model, settings.train, lora=settings.lora, new_rows=new_rows)
    if processes.is_first:
        size = size_of_state(model, execution.zero, choose_precision(settings.precision))
        check_room(args.state, args.output, size, sum(file.stat().st_size for file in args.model.glob("*.safetensors")))
    values = train_stage(
        model,
        stage_data(args, execution),
        settings,
        execution,
        seed=args.seed,
        state=args.state,
        deadline=deadline,
        processes=processes,
    )
    if not processes.is_first:
        return
    summary = {
        "fingerprint": fingerprint,
        "labels": args.labels,
        "precision": choose_precision(settings.precision),
        "attention": attention,
        "execution": execution.plain(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "processes": processes.world,
        "threads": args.threads,
    }
    del model
    gc.collect()
    result = finished_model(load_model(args.model, trust_remote_code=trust), settings.train, values, settings.lora)
    with atomic_directory(args.output) as folder:
        result.save_pretrained(folder)
        load_tokenizer(args.model).save_pretrained(folder)
        shutil.copyfile(args.state / "metrics.jsonl", folder / "metrics.jsonl")
        write_board(folder / "metrics.jsonl", folder / "tensorboard")
        write_json(folder / "training.json", summary)
        card = write_model_card(
            labels=args.labels,
            model=read_json(args.model_info),
            tokenizer=read_json(args.tokenizer_info),
            corpus=read_json(args.corpus_manifest),
            recipe=settings.plain(),
            training=summary,
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(args.state)


if __name__ == "__main__":
    cli.run(main, arguments())
