"""One stage of training with HF Trainer, which continues after an interruption."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PrinterCallback, default_data_collator, set_seed
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from tokalign.common.errors import ConfigurationError, InputError, StageStoppedError
from tokalign.common.files import atomic_file, full_disk_named, read_json, write_json
from tokalign.common.progress import quantity
from tokalign.config.recipes import Execution, StageSettings
from tokalign.models.device import choose_precision
from tokalign.training.callback import MetricScale, StageCallback
from tokalign.training.data import ScheduledBlocks, StageData
from tokalign.training.losses import chunked
from tokalign.training.order import mixed_order
from tokalign.training.processes import Processes, prepare_deepspeed
from tokalign.training.saved_states import check_layout, last_state
from tokalign.training.settings import accumulation, training_arguments
from tokalign.training.throughput import operations_per_token, peak_operations
from tokalign.training.trainer import StageTrainer, count_trained, finite_weights, size_of_state

log = logging.getLogger(__name__)

BEST = "best.safetensors"
"""Trained parameters that predicted the held-out text best, in the working folder."""


def check_document_mask(model: PreTrainedModel) -> None:
    """Check that restarting position ids hides the previous document from the model.

    Raises:
        ConfigurationError: this architecture or attention ignores position ids.
    """
    training = model.training
    model.eval()
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(1, 13, device=model.device)[None] % rows
    other = ids.clone()
    other[:, :6] = (ids[:, :6] + 7) % rows
    positions = torch.arange(6, device=model.device).repeat(2)[None]
    with torch.no_grad():
        first, second = (model(input_ids=x, position_ids=positions, use_cache=False).logits[:, 6:] for x in (ids, other))
    model.train(training)
    if not torch.allclose(first, second, atol=1e-4 * float(first.abs().max())):
        raise ConfigurationError(
            "document_mask: true",
            found=f"{type(model).__name__} with {model.config._attn_implementation} attention looks at the document before",
            expected="an architecture that heeds position ids",
            mend="set document_mask: false, or attention: sdpa",
        )


@contextmanager
def signals_noted(callback: StageCallback) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the stage after the current step."""

    def note(number: int, _: Any) -> None:
        callback.signal = f"signal {signal.Signals(number).name}"
        log.info("%s: will stop after this step", callback.signal)

    previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def train_stage(
    model: PreTrainedModel,
    data: StageData,
    settings: StageSettings,
    execution: Execution,
    *,
    seed: int,
    state: Path,
    deadline: float | None,
    processes: Processes,
) -> dict[str, torch.Tensor]:
    """Train a stage, from its beginning or from the newest saved state, to its end.

    Args:
        model: initial weights, float32, with ``requires_grad`` on trained parameters (``policies.select_parameters``).
        data: data to train and measure on.
        settings: what the stage computes.
        execution: how the stage runs.
        seed: seed of the data order (and of dropout, if the model has any).
        state: working folder for saved states, metrics and the fingerprint.
        deadline: time (``time.monotonic``) at which the job will be killed.
        processes: processes that train together.

    Returns:
        The trained parameters by name, on the CPU; of the last step or, if ``publish`` says so, of the best measurement on
        held-out text. With several processes only the first gets them.

    Raises:
        StageStoppedError: stopped by a signal or the time limit, with a state from which the same call continues.
        InputError: the loss became NaN or infinite, or diverged.
    """
    set_seed(seed)
    block, batch = data.blocks.block, settings.sequences(data.blocks.block)
    count = settings.optimizer_steps * batch
    order = mixed_order(len(data.blocks), len(data.mixed) if data.mixed else 0, settings.mixture_share, data.used, count, seed)
    if settings.document_mask:
        check_document_mask(model)
    loss = chunked.install(model, execution.loss)
    model.config.use_cache = False
    if execution.zero:
        prepare_deepspeed(processes)
    precision = choose_precision(settings.precision)
    peak, of_what = peak_operations(processes.device, precision)
    size = size_of_state(model, execution.zero, precision)
    operations = operations_per_token(model)
    scale = MetricScale(block, batch, sum(data.used) * block, data.bytes_per_token, operations, peak * processes.world, size)
    sources = [data.blocks, *([data.mixed] if data.mixed else [])]
    trainer: StageTrainer

    def keep_best(bits: float, step: int) -> None:
        values = trainer.trained()
        if processes.is_first:
            with atomic_file(state / BEST) as partial:
                save_file(values, partial)
            write_json(state / "best.json", {"heldout_bits_per_byte": bits, "step": step})

    callback = StageCallback(
        state / "metrics.jsonl", scale, execution, processes,
        deadline=deadline, heldout=data.heldout, finite=lambda: finite_weights(model),
        keep_best=keep_best if settings.publish != "last" else None,
    )  # fmt: skip
    trainer = StageTrainer(
        model=model,
        args=training_arguments(settings, execution, state, seed, block=block, processes=processes.world),
        train_dataset=ScheduledBlocks(sources, order, data.eos if settings.document_mask else None),
        data_collator=default_data_collator,
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)
    start = last_state(state) if processes.is_first else None
    if start:
        check_layout(start, {"zero": execution.zero, "processes": processes.world})
    start = processes.from_first(start)
    at_once, times = accumulation(batch, processes.world, execution.device_sequences)
    log.info(
        "%s trains %s of %s parameters on sequences %d ... %d of %d tokens, %d a step (%d processes x %d x %d accumulated);"
        " %s loss, %s, ZeRO-%d; utilization is of %s; %s",
        settings.name,
        quantity(count_trained(model)),
        quantity(sum(p.numel() for p in model.parameters())),
        sum(data.used),
        sum(data.used) + count - 1,
        block,
        batch,
        processes.world,
        at_once,
        times,
        loss,
        precision,
        execution.zero,
        of_what,
        f"continued from step {start.name.rpartition('-')[2]}" if start else "from its beginning",
    )
    with signals_noted(callback), full_disk_named(state):
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    if callback.failure:
        raise InputError(
            f"{settings.name}: {callback.failure}",
            expected="a finite loss that falls",
            mend="lower learning_rate or raise warmup_ratio of this stage; the last good state is kept in the working folder",
        )
    if trainer.state.global_step < settings.optimizer_steps:
        raise StageStoppedError(
            f"{callback.stop_reason or 'the trainer ended early'}; step {trainer.state.global_step} of {settings.optimizer_steps}"
            f" is saved in {state}",
            mend="run the same command again",
        )
    values = trainer.trained()
    chunked.uninstall(model)
    unset_hf_deepspeed_config()  # with ZeRO-3 it makes from_pretrained partition the weights
    if settings.publish != "last" and processes.is_first:
        best = read_json(state / "best.json")
        log.info("step %d is published: %.4f bits per byte on held-out text", best["step"], best["heldout_bits_per_byte"])
        values = load_file(state / BEST)
    return values
