"""A tiny training for tests: random blocks, small models, and a function that trains a stage on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokalign.config.recipes import Execution, StageSettings
from tokalign.tokens.packing import PackedBlocks, pack_shards
from tokalign.training.data import StageData
from tokalign.training.policies import select_parameters
from tokalign.training.processes import Processes
from tokalign.training.stage import train_stage
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from support.settings import unchecked
from support.shards import write_shard

VOCABULARY, BLOCK, SEED = 50, 12, 5
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 32, "initializer_range": 0.2,
}  # fmt: skip
SETTINGS = StageSettings(
    name="stage1", train="all", learning_rate=0.01, batch_tokens=4 * BLOCK, steps=6, schedule="cosine", warmup_ratio=0.3,
    weight_decay=0.01, max_grad_norm=0.3, precision="float32", document_mask=False, publish="last",
)  # fmt: skip
EXECUTION = unchecked(
    Execution, device_sequences=2, gradient_checkpointing=False, zero=0, loss="auto", attention="sdpa", compile=False, quantization="none",
    save_steps=2, log_steps=1, heldout_steps=0, heldout_bytes=0, max_loss_rise=None,
)  # fmt: skip
ALONE = Processes(0, 1, torch.device("cpu"))
MEASURED = ("tokens_per_second", "bytes_per_second", "flops_utilization", "memory_bytes")
"""Metrics that depend on the machine."""


def llama(tied: bool = True) -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied, bos_token_id=None, eos_token_id=0))


def gpt_neox() -> PreTrainedModel:
    torch.manual_seed(0)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE, tie_word_embeddings=False, hidden_dropout=0.1, attention_dropout=0.1))


MODELS = {"tied": llama, "untied": lambda: llama(tied=False), "gpt_neox": gpt_neox}


def random_blocks(folder: Path) -> PackedBlocks:
    """Pack twenty blocks of random tokens, fewer than a stage's sequences, so that it reads the data twice."""
    ids = np.random.default_rng(0).integers(1, VOCABULARY, 20 * BLOCK - 1).tolist()
    pack_shards([write_shard(folder / "a.arrow", [ids])], BLOCK, 0, folder / "blocks")
    return PackedBlocks.open(folder / "blocks")


def data(blocks: PackedBlocks, used: tuple[int, int] = (0, 0), **changes: object) -> StageData:
    kept = {"mixed": None, "used": used, "eos": 0, "bytes_per_token": 3.0, "heldout": None}
    return StageData(blocks=blocks, **(kept | changes))


def train(
    blocks: PackedBlocks | StageData, state: Path, settings: StageSettings = SETTINGS, execution: Execution = EXECUTION, *,
    make: Callable[[], PreTrainedModel] = llama, used: int = 0, deadline: float | None = None,
) -> PreTrainedModel:  # fmt: skip
    """Train a model in place and return it."""
    model = select_parameters(make(), settings.train, lora=settings.lora)
    given = blocks if isinstance(blocks, StageData) else data(blocks, (used, 0))
    train_stage(model, given, settings, execution, seed=SEED, state=state, deadline=deadline, processes=ALONE)
    return model


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_same_bits(first: PreTrainedModel, second: PreTrainedModel) -> None:
    for name, parameter in weights(second).items():
        assert torch.equal(first.get_parameter(name), parameter), name


def metrics(state: Path) -> list[dict]:
    return [json.loads(line) for line in (state / "metrics.jsonl").read_text().splitlines()]


def comparable(state: Path) -> list[dict]:
    """Return the metrics except those of time and memory."""
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in metrics(state)]
