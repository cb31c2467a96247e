"""Run a few optimizer steps of one way of training, in a separate process, so that the peak memory is only that way's.

Prints a line of JSON: seconds of the median step, losses, and the numbers of trained parameters and optimizer states.
``published`` is TokAlign's trainer (clm_train.py) as it runs with today's libraries: HF Trainer around the model's own loss,
which computes the logits of the whole batch; parameters without "embed" in their names are frozen in stage 1; all others have
AdamW states.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import common  # noqa: F401 - puts the library on the path
import numpy as np
import torch
from tokalign.config.recipes import Execution, StageSettings
from tokalign.models.loading import load_model
from tokalign.tokens.packing import PackedBlocks
from tokalign.training.data import ScheduledBlocks, StageData
from tokalign.training.policies import select_parameters
from tokalign.training.processes import Processes
from tokalign.training.stage import train_stage
from tokalign.training.trainer import StageTrainer
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator


class Clock(TrainerCallback):
    """Record when steps begin and end, the losses, and the optimizer states."""

    def __init__(self) -> None:
        """Start with nothing recorded."""
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.states = 0
        self.began = 0.0

    def on_step_begin(self, *_, **__) -> None:
        """Record the time."""
        self.began = time.perf_counter()

    def on_step_end(self, *_, optimizer=None, **__) -> None:
        """Record the time and the states."""
        self.seconds.append(time.perf_counter() - self.began)
        states = getattr(optimizer, "optimizer", optimizer).state.values()
        self.states = sum(value.numel() for state in states for value in state.values() if torch.is_tensor(value) and value.dim())

    def on_log(self, *_, logs=None, **__) -> None:
        """Record the loss."""
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])


def published(
    model, blocks: PackedBlocks, stage: str, steps: int, batch: int, precision: str, folder: Path, clock: Clock
) -> None:
    """Train as the published program does."""
    if stage == "embeddings":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("embed" in name)
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=batch, learning_rate=6.4e-4, lr_scheduler_type="cosine",
        warmup_steps=1, max_grad_norm=0.3, optim="adamw_torch", bf16=precision == "bfloat16", save_strategy="no", logging_steps=1,
        report_to="none", disable_tqdm=True, use_cpu=not torch.cuda.is_available(), train_sampling_strategy="sequential",
    )  # fmt: skip
    order = np.stack([np.zeros(steps * batch, dtype=np.int64), np.arange(steps * batch) % len(blocks)], axis=1)
    data = ScheduledBlocks([blocks], order, None)
    trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=default_data_collator, callbacks=[clock])
    trainer.train()


def ours(
    model, blocks: PackedBlocks, stage: str, loss: str, steps: int, batch: int, precision: str, folder: Path, clock: Clock
) -> None:
    """Train as this workflow does."""
    settings = StageSettings(
        name="benchmark", train=stage, learning_rate=6.4e-4, batch_tokens=batch * blocks.block, steps=steps, schedule="cosine",
        warmup_ratio=0.03, weight_decay=0.01, max_grad_norm=0.3, precision=precision, document_mask=False, publish="last",
    )  # fmt: skip
    execution = Execution(
        device_sequences=batch, gradient_checkpointing=False, zero=0, loss=loss, attention="sdpa", compile=False,
        quantization="none", save_steps=10**9, log_steps=1, heldout_steps=0, heldout_bytes=0, max_loss_rise=None,
    )  # fmt: skip
    select_parameters(model, stage)
    alone = Processes(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    data = StageData(blocks=blocks, mixed=None, used=(0, 0), eos=0, bytes_per_token=1.0, heldout=None)
    # Saving the last state and exporting the result are not part of a step.
    StageTrainer._save_checkpoint = lambda *_: None
    make = StageTrainer.__init__

    def with_clock(self, *args, **rest):
        make(self, *args, **rest)
        self.add_callback(clock)

    StageTrainer.__init__ = with_clock
    StageTrainer.trained = lambda _: {}
    train_stage(model, data, settings, execution, seed=1, state=folder, deadline=None, processes=alone)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--blocks", type=Path, required=True)
    parser.add_argument("--way", choices=["chunked", "plain", "published"], required=True)
    parser.add_argument("--stage", choices=["embeddings", "all"], required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--sequences", type=int, required=True)
    parser.add_argument("--precision", choices=["bfloat16", "float32"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_model(args.model, dtype=torch.float32)
    blocks, clock = PackedBlocks.open(args.blocks), Clock()
    with tempfile.TemporaryDirectory() as folder:
        given = (args.steps, args.sequences, args.precision, Path(folder), clock)
        if args.way == "published":
            published(model, blocks, args.stage, *given)
        else:
            ours(model, blocks, args.stage, args.way, *given)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    result = {"step_s": statistics.median(clock.seconds[1:]), "losses": clock.losses, "trained": trained, "states": clock.states}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
