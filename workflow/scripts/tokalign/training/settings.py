"""What a stage of training computes and how it runs: two groups of settings, and the arguments of HF Trainer that carry them out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from tokalign.common.errors import ConfigurationError
from tokalign.config.stages import stage_steps
from tokalign.models.device import choose_precision
from tokalign.training.policies import LoraSettings

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
SAVED_STATES = 2
"""How many saved states are kept; while a new one is written there is one more."""


@dataclass(frozen=True)
class StageSettings:
    """What a stage computes: a change makes another training. See the schema for the meaning and the units of the fields."""

    name: str
    train: str
    learning_rate: float
    batch_tokens: int
    steps: int
    schedule: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    precision: str
    document_mask: bool
    publish: str
    """``last``, or ``best of ...`` measurements on held-out text."""
    mixture_share: float | None
    lora: LoraSettings | None

    @classmethod
    def of(cls, block: dict[str, Any]) -> StageSettings:
        """Make them from a stage of a recipe; ``steps`` are worked out where it states ``tokens``."""
        chosen = dict(block)
        chosen["steps"] = stage_steps(chosen)
        del chosen["tokens"]
        chosen["mixture_share"] = (chosen.pop("mixture", None) or {}).get("share")
        chosen["lora"] = LoraSettings(**chosen["lora"]) if chosen.get("lora") else None
        return cls(**chosen)

    def sequences(self, block: int) -> int:
        """Return how many sequences of ``block`` tokens an optimizer step takes.

        Raises:
            ConfigurationError: the batch is not a whole number of them.
        """
        if self.batch_tokens % block:
            raise ConfigurationError(
                f"{self.name}: batch_tokens",
                found=f"{self.batch_tokens}, no multiple of block {block}",
                expected=f"for instance {max(1, round(self.batch_tokens / block)) * block}",
            )
        return self.batch_tokens // block


@dataclass(frozen=True)
class Execution:
    """How a stage runs, which changes its result by rounding at most: it may be another when a stage is continued.

    Attributes:
        device_sequences: most sequences that a process reads at once.
        gradient_checkpointing: recompute activations.
        zero: stage of ZeRO (Rajbhandari et al. 2020) by DeepSpeed: 2 shares out gradients and optimizer states, 3 weights, too;
            0 is DistributedDataParallel, or one process.
        loss: see ``chunked_loss.install``.
        attention: implementation: ``sdpa``, ``flash_attention_2``, ``eager``, or ``auto``.
        compile: whether ``torch.compile`` is used.
        quantization: of frozen weights: ``none``, ``8bit`` or ``4bit`` (bitsandbytes; policy ``lora``, on a GPU).
        save_steps: steps between two saved states.
        log_steps: steps between two lines of metrics.
        heldout_steps: steps between two measurements on held-out text; 0 for none.
        heldout_bytes: of held-out text that is measured on.
        max_loss_rise: nats by which the mean loss of ten logged steps may exceed the lowest such mean; ``None`` for any.
    """

    device_sequences: int
    gradient_checkpointing: bool
    zero: int
    loss: str
    attention: str
    compile: bool
    quantization: str
    save_steps: int
    log_steps: int
    heldout_steps: int
    heldout_bytes: int
    max_loss_rise: float | None


def accumulation(sequences: int, processes: int, device_sequences: int) -> tuple[int, int]:
    """Share out the sequences of an optimizer step.

    Args:
        sequences: of the step.
        processes: that train together.
        device_sequences: most sequences that a process reads at once.

    Returns:
        How many a process reads at once, and how often it does so in a step: their product times the processes is ``sequences``.

    Raises:
        ConfigurationError: the sequences cannot be shared out evenly.
    """
    if sequences % processes:
        fitting = [n for n in range(1, sequences + 1) if sequences % n == 0]
        raise ConfigurationError(
            "batch_tokens",
            found=f"{sequences} sequences a step for {processes} processes",
            expected=f"a multiple of {processes} sequences, or a number of processes among {', '.join(map(str, fitting[:12]))}",
            mend="change gpus, nodes or batch_tokens of the stage",
        )
    share = sequences // processes
    at_once = max(n for n in range(1, min(device_sequences, share) + 1) if share % n == 0)
    return at_once, share // at_once


def deepspeed_configuration(zero: int) -> dict[str, Any] | None:
    """Return the configuration of DeepSpeed for a stage of ZeRO, or ``None`` without it; Trainer fills in what is ``auto``."""
    if zero == 0:
        return None
    sharding: dict[str, Any] = {"stage": zero, "overlap_comm": torch.cuda.is_available(), "contiguous_gradients": True}
    if zero == 3:
        sharding |= {"stage3_gather_16bit_weights_on_model_save": True}
    return {
        "zero_optimization": sharding,
        "bf16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }


def training_arguments(
    settings: StageSettings, execution: Execution, state: Path, seed: int, *, block: int, processes: int = 1
) -> TrainingArguments:
    """Return the arguments of HF Trainer that carry out a stage's settings.

    Args:
        settings: what the stage computes.
        execution: how it runs.
        state: folder for saved states.
        seed: of dropout, where a model has it.
        block: tokens in a sequence.
        processes: that train together.
    """
    at_once, times = accumulation(settings.sequences(block), processes, execution.device_sequences)
    return TrainingArguments(
        output_dir=str(state),
        max_steps=settings.steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=times,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=math.ceil(settings.warmup_ratio * settings.steps),
        optim="adamw_torch",
        weight_decay=0.0 if settings.train == "new_rows" else settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=choose_precision(settings.precision) == "bfloat16",
        activation_checkpointing=execution.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if execution.gradient_checkpointing else None,
        deepspeed=deepspeed_configuration(execution.zero),
        torch_compile=execution.compile,
        ddp_find_unused_parameters=False if processes > 1 else None,
        train_sampling_strategy="sequential",
        seed=seed,
        data_seed=seed,
        save_strategy="steps",
        save_steps=execution.save_steps,
        save_total_limit=SAVED_STATES,
        logging_steps=execution.log_steps,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
