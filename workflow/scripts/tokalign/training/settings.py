"""Arguments of HF Trainer from the settings of a stage and its execution."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from tokalign.common.errors import ConfigurationError
from tokalign.config.recipes import Execution, StageSettings
from tokalign.models.device import choose_precision

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
SAVED_STATES = 2
"""Number of saved states kept; there is one more while a new one is written."""


def accumulation(sequences: int, processes: int, device_sequences: int) -> tuple[int, int]:
    """Divide the sequences of an optimizer step among processes.

    Args:
        sequences: sequences of a step.
        processes: number of processes that train together.
        device_sequences: most sequences a process reads at once.

    Returns:
        Sequences a process reads at once, and how often per step; their product times ``processes`` is ``sequences``.

    Raises:
        ConfigurationError: the sequences cannot be divided evenly.
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
    """Return DeepSpeed's configuration for a ZeRO stage, or ``None`` without ZeRO; Trainer fills in ``auto``."""
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
    """Return the arguments of HF Trainer for a stage.

    Args:
        settings: what the stage computes.
        execution: how the stage runs.
        state: folder for saved states.
        seed: seed of dropout, if the model has any.
        block: tokens in a sequence.
        processes: number of processes that train together.
    """
    at_once, times = accumulation(settings.sequences(block), processes, execution.device_sequences)
    return TrainingArguments(
        output_dir=str(state),
        max_steps=settings.optimizer_steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=times,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=math.ceil(settings.warmup_ratio * settings.optimizer_steps),
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
