"""The trainer of a stage: HF Trainer with our loss, states and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer
from transformers.trainer_pt_utils import nested_gather

from tokalign.common.files import read_json, write_json
from tokalign.training.policies import put_in, trained_parameters
from tokalign.training.saved_states import state_bytes

TRAINED = "trained.safetensors"
"""Trained parameters in a saved state (without ZeRO, which saves its own parts)."""


class StageTrainer(Trainer):
    """HF Trainer whose saved states hold only the trained parameters."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the trained parameters; DeepSpeed writes them with the optimizer's state."""
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
        """Also save the loss since the last line of metrics, so that the next line includes these steps."""
        super()._save_checkpoint(model, trial)
        loss = nested_gather(self._tr_loss, self.args.parallel_mode).mean().item()
        if self.args.should_save:
            folder = Path(self.args.output_dir, f"checkpoint-{self.state.global_step}")
            write_json(folder / "loss.json", {"sum": loss, "last_logged": self._globalstep_last_logged})

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Restore the random state and the loss since the last line of metrics.

        This runs once the data are in position.
        """
        super()._load_rng_state(checkpoint)
        saved = read_json(Path(checkpoint, "loss.json"))
        self._tr_loss += saved["sum"]
        self._globalstep_last_logged = saved["last_logged"]

    def trained(self) -> dict[str, torch.Tensor]:
        """Return the trained parameters by name, in float32 on the CPU.

        All processes must call this; the first gets them all.
        """
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
    """Return the number of trained parameters (also with ZeRO-3, which leaves each process a part of them)."""
    return sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in trained_parameters(model).values())


def size_of_state(model: nn.Module, zero: int, precision: str) -> int:
    """Return the size of a saved state [bytes].

    It has the trained parameters and, with ZeRO, all weights in ``precision``.
    """
    weights = sum(parameter.numel() for parameter in model.parameters()) if zero else 0
    return state_bytes(count_trained(model), weights * (2 if precision == "bfloat16" else 4))


def finite_weights(model: nn.Module) -> bool:
    """Return whether the trained weights of this process are finite (ZeRO-3: its part of them)."""
    return all(bool(torch.isfinite(getattr(p, "ds_tensor", p)).all()) for p in model.parameters() if p.requires_grad)
