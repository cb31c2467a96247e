"""One stage of training with HF Trainer: what is trained, in which order, and how it continues after an interruption."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, Trainer, default_data_collator, set_seed
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.trainer_pt_utils import nested_gather

from tokalign import chunked_loss
from tokalign.device import choose_precision
from tokalign.errors import ConfigurationError, InputError, StageStoppedError
from tokalign.files import atomic_file, full_disk_named, read_json, write_json
from tokalign.heldout_bits import HeldoutText
from tokalign.monitor import Plan, StageCallback
from tokalign.packing import PackedBlocks, mixed_order
from tokalign.policies import put_in, trained_parameters
from tokalign.processes import Processes, prepare_deepspeed
from tokalign.progress import quantity
from tokalign.saved_states import check_layout, last_state, state_bytes
from tokalign.stage_settings import Execution, StageSettings, accumulation, training_arguments
from tokalign.throughput import operations_per_token, peak_operations

log = logging.getLogger(__name__)

TRAINED = "trained.safetensors"
"""Trained parameters in a saved state (without ZeRO, which saves its own parts)."""
BEST = "best.safetensors"
"""Trained parameters that predicted the held-out text best, in the working folder."""


@dataclass(frozen=True)
class StageData:
    """What a stage is trained and measured on.

    Attributes:
        blocks: of the corpus.
        mixed: of the corpus that is mixed in, or ``None``.
        used: sequences of both that earlier stages used.
        eos: id of the token that ends documents in the blocks.
        bytes_per_token: of the blocks.
        heldout: text to measure on, or ``None``.
    """

    blocks: PackedBlocks
    mixed: PackedBlocks | None
    used: tuple[int, int]
    eos: int
    bytes_per_token: float
    heldout: HeldoutText | None


class ScheduledBlocks(Dataset):
    """The sequences of one stage, in the order in which it trains on them.

    Args:
        sources: blocks of the corpus, and of the one that is mixed in.
        order: int64, shape (sequences, 2): source and block.
        separator: id of the token that ends documents, if attention and positions begin anew behind it; else ``None``.
    """

    def __init__(self, sources: list[PackedBlocks], order: np.ndarray, separator: int | None):
        """Take the blocks and which of them comes when."""
        self.sources, self.order, self.separator = sources, order, separator

    def __len__(self) -> int:
        """Return the number of sequences of the stage."""
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return input ids and labels (the same; the loss shifts them), int64, shape (block,).

        With a separator there are position ids, too, which begin anew with each document, and the first token of a document has
        no label: what comes before it is another document.
        """
        source, block = self.order[index]
        ids = torch.from_numpy(self.sources[source][int(block)])
        if self.separator is None:
            return {"input_ids": ids, "labels": ids}
        places = torch.arange(len(ids))
        first = torch.zeros(len(ids), dtype=torch.bool)
        first[1:] = ids[:-1] == self.separator
        begin = torch.cummax(torch.where(first, places, 0), dim=0).values
        return {"input_ids": ids, "labels": ids.masked_fill(first, chunked_loss.IGNORED), "position_ids": places - begin}


class StageTrainer(Trainer):
    """HF Trainer whose saved states hold the trained parameters alone."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the trained parameters; DeepSpeed writes its own with the optimizer's state."""
        if self.is_deepspeed_enabled:
            return
        if self.args.should_save:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            values = {name: value.detach().contiguous() for name, value in trained_parameters(self.model).items()}
            save_file(values, Path(output_dir, TRAINED))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Read them."""
        path = Path(resume_from_checkpoint, TRAINED)
        put_in(self.model, load_file(path), path)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write the loss since the last line of metrics, too, or the next line would leave these steps out."""
        super()._save_checkpoint(model, trial)
        loss = nested_gather(self._tr_loss, self.args.parallel_mode).mean().item()
        if self.args.should_save:
            folder = Path(self.args.output_dir, f"checkpoint-{self.state.global_step}")
            write_json(folder / "loss.json", {"sum": loss, "last_logged": self._globalstep_last_logged})

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Restore the random numbers, when the data are where they were, and the loss since the last line of metrics."""
        super()._load_rng_state(checkpoint)
        saved = read_json(Path(checkpoint, "loss.json"))
        self._tr_loss += saved["sum"]
        self._globalstep_last_logged = saved["last_logged"]

    def trained(self) -> dict[str, torch.Tensor]:
        """Return the trained parameters by name, in float32 on the CPU; all processes have to ask, the first gets them all."""
        own = trained_parameters(self.model)
        if not self.is_deepspeed_enabled:
            return {name: value.detach().cpu().clone() for name, value in own.items()}
        from deepspeed.utils import safe_get_full_fp32_param

        values = {}
        for name, parameter in own.items():
            value = safe_get_full_fp32_param(parameter)
            if self.args.process_index == 0:
                values[name] = value.detach().cpu().clone()
        return values


def count_trained(model: nn.Module) -> int:
    """Return how many parameters are trained, wherever they are (ZeRO-3 leaves a part of each in a process)."""
    return sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in trained_parameters(model).values())


def size_of_state(model: nn.Module, zero: int, precision: str) -> int:
    """Return the size of a saved state in bytes: of what is trained, and with ZeRO of all weights in the precision of the arithmetic."""
    weights = sum(parameter.numel() for parameter in model.parameters()) if zero else 0
    return state_bytes(count_trained(model), weights * (2 if precision == "bfloat16" else 4))


def finite_weights(model: nn.Module) -> bool:
    """Say whether the trained weights that this process holds are finite (ZeRO-3: its part of them)."""
    return all(bool(torch.isfinite(getattr(p, "ds_tensor", p)).all()) for p in model.parameters() if p.requires_grad)


def check_document_mask(model: PreTrainedModel) -> None:
    """See that position ids that begin anew keep a model from looking at the document before.

    Raises:
        ConfigurationError: this architecture or attention does not heed them.
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
    """Let SIGTERM and SIGINT end the stage after the step that is being made."""

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
        model: initial weights, float32, with ``requires_grad`` on what is trained (``policies.select_parameters``).
        data: to train and measure on.
        settings: what the stage computes.
        execution: how it runs.
        seed: of the order of the data (and of dropout, where a model has it).
        state: working folder for saved states, metrics and the fingerprint.
        deadline: time (``time.monotonic``) at which the job will be ended from outside.
        processes: that train together.

    Returns:
        The trained parameters by name, on the CPU; of the last step or, where ``publish`` says so, of the best measurement on
        held-out text. Only the first of several processes gets them.

    Raises:
        StageStoppedError: stopped by a signal or the time limit, with a state from which the same call continues.
        InputError: the loss became NaN or infinite, or ran away.
    """
    set_seed(seed)
    block, batch = data.blocks.block, settings.sequences(data.blocks.block)
    count = settings.steps * batch
    order = mixed_order(len(data.blocks), len(data.mixed) if data.mixed else 0, settings.mixture_share, data.used, count, seed)
    if settings.document_mask:
        check_document_mask(model)
    loss = chunked_loss.install(model, execution.loss)
    model.config.use_cache = False
    if execution.zero:
        prepare_deepspeed(processes)
    precision = choose_precision(settings.precision)
    peak, of_what = peak_operations(processes.device, precision)
    size = size_of_state(model, execution.zero, precision)
    operations = operations_per_token(model)
    plan = Plan(block, batch, sum(data.used) * block, data.bytes_per_token, operations, peak * processes.world, size)
    sources = [data.blocks, *([data.mixed] if data.mixed else [])]
    trainer: StageTrainer

    def keep_best(bits: float, step: int) -> None:
        values = trainer.trained()
        if processes.is_first:
            with atomic_file(state / BEST) as partial:
                save_file(values, partial)
            write_json(state / "best.json", {"heldout_bits_per_byte": bits, "step": step})

    callback = StageCallback(
        state / "metrics.jsonl", plan, execution, processes,
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
        " %s loss, %s, ZeRO-%d; utilisation is of %s; %s",
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
    if trainer.state.global_step < settings.steps:
        raise StageStoppedError(
            f"{callback.stop_reason or 'the trainer ended early'}; step {trainer.state.global_step} of {settings.steps}"
            f" is saved in {state}",
            mend="run the same command again",
        )
    values = trainer.trained()
    chunked_loss.uninstall(model)
    unset_hf_deepspeed_config()  # with ZeRO-3 it makes from_pretrained share out what it loads
    if settings.publish != "last" and processes.is_first:
        best = read_json(state / "best.json")
        log.info("step %d is published: %.4f bits per byte on held-out text", best["step"], best["heldout_bits_per_byte"])
        values = load_file(state / BEST)
    return values
