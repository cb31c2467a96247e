"""One stage of training with HF Trainer: what is trained, in which order, and how it continues after an interruption."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from tokalign.device import choose_precision
from tokalign.errors import ArtefactError, InputError, StageStoppedError
from tokalign.files import full_disk_named, read_json, write_json
from tokalign.initialisation import embeddings
from tokalign.packing import PackedBlocks, data_order
from tokalign.progress import duration, quantity

log = logging.getLogger(__name__)

COMPLETE = "complete.json"
"""Written into a saved state when all its files are on the disk; a state without it is never continued."""


@dataclass(frozen=True)
class StageSettings:
    """A stage of a recipe; see the schema for the meaning and the units of the fields."""

    name: str
    train: str
    steps: int
    learning_rate: float
    batch_sequences: int
    device_sequences: int
    schedule: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    precision: str
    gradient_checkpointing: bool
    save_steps: int
    log_steps: int


SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class ScheduledBlocks(Dataset):
    """The sequences of one stage, in the order in which it trains on them."""

    def __init__(self, blocks: PackedBlocks, order: np.ndarray):
        """Take the blocks and which of them comes when."""
        self.blocks, self.order = blocks, order

    def __len__(self) -> int:
        """Return the number of sequences of the stage."""
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return input ids and labels (the same; the model shifts them), int64, shape (block,)."""
        ids = torch.from_numpy(self.blocks[int(self.order[index])])
        return {"input_ids": ids, "labels": ids}


def select_parameters(model: PreTrainedModel, what: str) -> None:
    """Mark the parameters that a stage trains; the others get no gradient and no optimizer state.

    Args:
        model: changed in place.
        what: ``embeddings`` (input embedding and LM head as the model's API names them, tied or not) or ``all``.

    Raises:
        InputError: an unknown choice.
    """
    if what == "all":
        model.requires_grad_(True)
    elif what == "embeddings":
        model.requires_grad_(False)
        first, last, _ = embeddings(model)
        first.requires_grad_(True)
        last.requires_grad_(True)
    else:
        raise InputError("what a stage trains", found=what, expected="embeddings or all")


def training_arguments(settings: StageSettings, state: Path, seed: int) -> TrainingArguments:
    """Return the arguments of HF Trainer that carry out a stage's settings."""
    device_sequences = min(settings.device_sequences, settings.batch_sequences)
    return TrainingArguments(
        output_dir=str(state),
        max_steps=settings.steps,
        per_device_train_batch_size=device_sequences,
        gradient_accumulation_steps=settings.batch_sequences // device_sequences,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=int(np.ceil(settings.warmup_ratio * settings.steps)),
        optim="adamw_torch",
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=choose_precision(settings.precision) == "bfloat16",
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        train_sampling_strategy="sequential",
        seed=seed,
        data_seed=seed,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=settings.log_steps,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


class StageCallback(TrainerCallback):
    """Writes metrics and progress, marks saved states as complete, and stops the stage in time.

    Args:
        metrics: JSONL file, a line per log step; it outlives interruptions.
        block: tokens in a sequence.
        batch: sequences in a step.
        used: sequences that earlier stages trained on.
        deadline: time (``time.monotonic``) at which the job is ended from outside; ``None`` if it never is.
    """

    def __init__(self, metrics: Path, block: int, batch: int, used: int, deadline: float | None):
        """Take what the lines of metrics are made of."""
        self.metrics, self.block, self.batch, self.used, self.deadline = metrics, block, batch, used, deadline
        self.stop_reason: str | None = None
        self.started = time.monotonic()
        self.first_step = self.last_step_at = 0.0
        self.longest_step = self.save_seconds = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Forget lines of metrics behind the state that is continued, and start the clock."""
        self.first_step, self.started = state.global_step, time.monotonic()
        self.last_step_at = self.started
        lines = self.metrics.read_text().splitlines(True) if self.metrics.exists() else []
        whole = (line for line in lines if line.endswith("\n"))  # a full disk may have cut the last one
        self.metrics.write_text("".join(line for line in whole if json.loads(line)["step"] <= state.global_step))

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict | None = None, **_: Any
    ) -> None:
        """Write a line of metrics and one of progress."""
        if not logs or "loss" not in logs:
            return
        if not np.isfinite(logs["loss"]):
            self.stop_reason = f"the loss of step {state.global_step} is {logs['loss']}"
            control.should_training_stop = True
            control.should_save = False
            return
        now = time.monotonic()
        steps = state.global_step - self.first_step
        rate = steps / (now - self.started)
        record = {
            "step": state.global_step,
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs.get("grad_norm"),
            "tokens": (self.used + state.global_step * self.batch) * self.block,
            "tokens_per_second": rate * self.batch * self.block,
        }
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")
        log.info(
            "step %d of %d (%.0f %%), loss %.4f, learning rate %.2e, %s tokens/s, %s left",
            state.global_step,
            state.max_steps,
            100 * state.global_step / state.max_steps,
            logs["loss"],
            logs["learning_rate"],
            quantity(rate * self.batch * self.block),
            duration((state.max_steps - state.global_step) / rate),
        )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop if a signal came or if the next step might not end before the deadline."""
        now = time.monotonic()
        self.longest_step = max(self.longest_step, now - self.last_step_at)
        self.last_step_at = now
        needed = 2 * self.longest_step + 2 * self.save_seconds + 30
        if self.deadline is not None and now + needed > self.deadline and self.stop_reason is None:
            self.stop_reason = "the time limit of the job is near"
        if self.stop_reason is not None and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
            self.save_started = now

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module | None = None, **_: Any
    ) -> None:
        """Mark the saved state as complete, if its weights are finite; else stop."""
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters() if weight.requires_grad):
            self.stop_reason = f"the loss of step {state.global_step} or one before it made weights that are not finite"
            control.should_training_stop = True
            return
        for file in folder.iterdir():
            handle = os.open(file, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        write_json(
            folder / COMPLETE, {"step": state.global_step, "files": {f.name: f.stat().st_size for f in sorted(folder.iterdir())}}
        )
        self.save_seconds = max(self.save_seconds, time.monotonic() - self.last_step_at)
        self.last_step_at = time.monotonic()
        log.info("saved the state of step %d", state.global_step)


def fingerprint(inputs: dict[str, str], settings: StageSettings, seed: int, used: int, version: int) -> dict[str, Any]:
    """Return what a saved state depends on; how often it is saved and logged does not matter.

    Args:
        inputs: digests by name.
        settings: of the stage.
        seed: of the order of the data.
        used: sequences of earlier stages.
        version: of the training step.
    """
    chosen = {key: value for key, value in settings.__dict__.items() if key not in ("save_steps", "log_steps")}
    return {"inputs": inputs, "settings": chosen, "seed": seed, "used_sequences": used, "version": version}


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            d
            for key in sorted({*old, *new})
            for d in _differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)
        ]
    return [] if old == new else [f"{place}: {old} -> {new}"]


def check_fingerprint(state: Path, expected: dict[str, Any]) -> None:
    """Record what a training depends on in its working folder, or compare with what is recorded there.

    Raises:
        ArtefactError: the folder holds the state of a training with other inputs or settings.
    """
    path = state / "fingerprint.json"
    if not path.exists():
        write_json(path, expected)
        return
    differences = _differences(read_json(path), expected)
    if differences:
        raise ArtefactError(
            f"{state}: holds the unfinished state of another training",
            found="; ".join(differences),
            expected="the same inputs and settings as when it was interrupted",
            mend=f"undo the change to continue it, or start afresh with: rm -r {state}",
        )


def last_state(state: Path) -> Path | None:
    """Return the newest complete saved state and remove damaged ones with a warning; ``None`` if there is none."""
    best: Path | None = None
    for folder in sorted(state.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2])):
        marker = folder / COMPLETE
        files = read_json(marker)["files"] if marker.exists() else None
        if files and all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in files.items()):
            best = folder
        else:
            log.warning("%s is incomplete (the job ended while it was written) and is removed", folder)
            shutil.rmtree(folder)
    return best


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Give a model the weights of a saved state.

    Trainer by itself loads the file by the names of the modules and leaves out, with a warning, what ``save_pretrained`` wrote
    under another name: the LM head of GPT-NeoX (Pythia) would fall back to its initial weights. ``from_pretrained`` knows.

    Args:
        model: changed in place.
        folder: the saved state.

    Raises:
        ArtefactError: weights are missing in the state.
    """
    saved, found = type(model).from_pretrained(
        folder, dtype=model.dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    if found["missing_keys"]:
        raise ArtefactError(f"{folder}: weights are missing", found=", ".join(sorted(found["missing_keys"])[:5]))
    model.load_state_dict(saved.state_dict())


@contextlib.contextmanager
def exclusive(path: Path, poll: float = 1.0) -> Iterator[None]:
    """Hold a lock file, waiting for another process that trains the same; the lock ends with its process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        waited = 0.0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waited % 30 == 0:
                    file.seek(0)
                    log.warning(
                        "another process (%s) is at this training; waiting for it to end", file.read().strip() or "unknown"
                    )
                time.sleep(poll)
                waited += poll
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def train_stage(
    model: PreTrainedModel,
    blocks: PackedBlocks,
    settings: StageSettings,
    *,
    seed: int,
    used: int,
    state: Path,
    deadline: float | None,
) -> Path:
    """Train a stage, from its beginning or from the newest saved state, to its end.

    Args:
        model: initial weights, float32; changed in place.
        blocks: the packed training data.
        settings: of the stage.
        seed: of the order of the data (and of dropout, where a model has it).
        used: sequences that the stages before trained on; the stage goes on behind them.
        state: working folder for saved states, metrics and the fingerprint.
        deadline: time (``time.monotonic``) at which the job will be ended from outside.

    Returns:
        The file of metrics.

    Raises:
        StageStoppedError: stopped by a signal or the time limit, with a state from which the same call continues.
        InputError: the loss became NaN or infinite.
    """
    set_seed(seed)
    select_parameters(model, settings.train)
    order = data_order(len(blocks), used, settings.steps * settings.batch_sequences, seed)
    callback = StageCallback(state / "metrics.jsonl", blocks.block, settings.batch_sequences, used, deadline)
    model.config.use_cache = False
    trainer = Trainer(
        model=model,
        args=training_arguments(settings, state, seed),
        train_dataset=ScheduledBlocks(blocks, order),
        data_collator=default_data_collator,
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)
    start = last_state(state)
    if start:
        load_weights(model, start)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    log.info(
        "%s trains %s of %s parameters on sequences %d ... %d (%d blocks of %d tokens there are), %s",
        settings.name,
        quantity(trained),
        quantity(sum(p.numel() for p in model.parameters())),
        used,
        used + len(order) - 1,
        len(blocks),
        blocks.block,
        f"continued from step {start.name.rpartition('-')[2]}" if start else "from its beginning",
    )

    def stop(number: int, _: Any) -> None:
        callback.stop_reason = f"signal {signal.Signals(number).name}"
        log.info("%s: will stop after this step", callback.stop_reason)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with full_disk_named(state):
            trainer.train(resume_from_checkpoint=str(start) if start else None)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if trainer.state.global_step < settings.steps:
        reason = callback.stop_reason or "the trainer ended early"
        if reason.startswith("the loss"):
            raise InputError(
                f"{settings.name}: {reason}",
                expected="a finite loss",
                mend="lower learning_rate or raise warmup_ratio of this stage; the last good state is kept in the working folder",
            )
        raise StageStoppedError(
            f"{reason}; step {trainer.state.global_step} of {settings.steps} is saved in {state}",
            mend="run the same command again",
        )
    return state / "metrics.jsonl"


def finished_model(model: nn.Module, dtype: torch.dtype) -> PreTrainedModel:
    """Return a trained model as it is published: without training switches, in the dtype of the source checkpoint."""
    model.config.use_cache = True
    model.requires_grad_(True)
    return model.to(dtype)
