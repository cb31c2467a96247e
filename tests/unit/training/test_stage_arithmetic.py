"""What a step of training computes: against a loop written by hand, and the arguments that reach the trainer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.settings import altered
from support.training import (
    BLOCK,
    EXECUTION,
    MODELS,
    SEED,
    SETTINGS,
    VOCABULARY,
    llama,
    metrics,
    train,
    weights,
)
from tokalign.common.errors import ConfigurationError
from tokalign.tokens.packing import PackedBlocks
from tokalign.training import stage
from tokalign.training.order import data_order
from tokalign.training.settings import StageSettings, accumulation, deepspeed_configuration, training_arguments
from transformers import PreTrainedModel

# --- the arithmetic, against a loop by hand ---


def expected_rate(step: int, settings: StageSettings) -> float:
    """Return the learning rate of a step (0, 1, ...): linear warm-up, then a half cosine, a line to 0, or constant."""
    warmup = math.ceil(settings.warmup_ratio * settings.steps)
    if step < warmup:
        return settings.learning_rate * step / warmup
    course = (step - warmup) / (settings.steps - warmup)
    shapes = {"cosine": (1 + math.cos(math.pi * course)) / 2, "linear": 1 - course, "constant": 1.0}
    return settings.learning_rate * shapes[settings.schedule]


def by_hand(blocks: PackedBlocks, settings: StageSettings, used: int = 0) -> tuple[PreTrainedModel, list[float], list[float]]:
    """Train with a plain loop; return the model, and loss and norm of the gradient of each step."""
    model = llama()
    matrices = [p for p in model.parameters() if p.ndim == 2]
    norms = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": norms, "weight_decay": 0.0}],
        lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-8,
    )  # fmt: skip
    order = data_order(len(blocks), used, settings.steps * 4, SEED)
    losses, norm_of = [], []
    for step in range(settings.steps):
        rows = order[step * 4 : (step + 1) * 4]
        ids = torch.from_numpy(np.stack([blocks[int(i)] for i in rows]))
        logits = model(input_ids=ids).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, VOCABULARY), ids[:, 1:].reshape(-1))
        loss.backward()
        norm_of.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)))
        for group in optimizer.param_groups:
            group["lr"] = expected_rate(step, settings)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return model, losses, norm_of


@pytest.mark.parametrize(
    "changes",
    [({}, {}), ({"schedule": "linear"}, {"device_sequences": 8}), ({}, {"loss": "plain"}),
     ({"schedule": "constant", "weight_decay": 0.5, "max_grad_norm": 50.0}, {"device_sequences": 3}),
     ({"warmup_ratio": 0.0}, {"device_sequences": 1, "gradient_checkpointing": True})],
)  # fmt: skip
def test_equals_a_loop_by_hand(blocks, tmp_path, changes):
    """Loss, clipping, weight decay, warm-up, schedule, accumulation and data are what the settings say."""
    settings = altered(SETTINGS, **changes[0])
    made = train(blocks, tmp_path, settings, altered(EXECUTION, **changes[1]))
    model, losses, norms = by_hand(blocks, settings)
    assert [row["loss"] for row in metrics(tmp_path)] == pytest.approx(losses, rel=1e-3)
    assert [row["grad_norm"] for row in metrics(tmp_path)] == pytest.approx(norms, rel=1e-3)
    assert min(norms) > 0.3  # clipping at 0.3 does something
    for name, parameter in weights(model).items():
        assert made.get_parameter(name).detach().numpy() == pytest.approx(parameter.numpy(), abs=2e-4), name
    assert [row["tokens"] for row in metrics(tmp_path)] == [4 * BLOCK * step for step in range(1, 7)]


class Watching(stage.StageCallback):
    """Notes what the optimizer is about to do."""

    seen: list[dict]

    def on_pre_optimizer_step(self, args, state, control, model=None, optimizer=None, **_):
        names = {id(p): name for name, p in model.named_parameters()}
        self.seen.append(
            {
                "decay": {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]},
                "rate": optimizer.param_groups[0]["lr"],
                "norm": math.sqrt(sum(float(p.grad.pow(2).sum()) for p in model.parameters() if p.grad is not None)),
                "kind": type(getattr(optimizer, "optimizer", optimizer)),
            }
        )


@pytest.fixture
def watched(monkeypatch) -> list[dict]:
    Watching.seen = []
    monkeypatch.setattr(stage, "StageCallback", Watching)
    return Watching.seen


@pytest.mark.parametrize("name", ["untied", "gpt_neox"])
def test_weight_decay_on_matrices_only(name, blocks, tmp_path, watched):
    model = train(blocks, tmp_path, altered(SETTINGS, steps=1), make=MODELS[name])
    assert watched[0]["decay"] == {n: 0.01 if p.ndim == 2 else 0.0 for n, p in model.named_parameters()}
    assert 0.0 in watched[0]["decay"].values()


def test_optimizer_of_embeddings_has_nothing_else(blocks, tmp_path, watched):
    train(blocks, tmp_path, altered(SETTINGS, steps=1, train="embeddings"), make=MODELS["untied"])
    assert watched[0]["decay"] == {"model.embed_tokens.weight": 0.01, "lm_head.weight": 0.01}
    assert watched[0]["kind"] is torch.optim.AdamW


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule_and_clipping(schedule, blocks, tmp_path, watched):
    settings = altered(SETTINGS, steps=10, warmup_ratio=0.2, schedule=schedule)
    train(blocks, tmp_path, settings, altered(EXECUTION, log_steps=5))
    rates = [step["rate"] for step in watched]
    assert rates[:3] == pytest.approx([0.0, 0.005, 0.01])
    assert rates[6] == pytest.approx({"cosine": 0.005, "linear": 0.005, "constant": 0.01}[schedule])
    assert rates[9] == pytest.approx(
        {"cosine": 0.005 * (1 + math.cos(math.pi * 7 / 8)), "linear": 0.00125, "constant": 0.01}[schedule]
    )
    assert [step["norm"] for step in watched] == pytest.approx([0.3] * 10, rel=1e-4)
    assert [row["step"] for row in metrics(tmp_path)] == [5, 10]


def test_arguments(tmp_path):
    """What none of the tests above sees."""
    settings = altered(SETTINGS, steps=100, warmup_ratio=0.031, precision="bfloat16")
    arguments = training_arguments(settings, EXECUTION, tmp_path, 9, block=BLOCK)
    assert arguments.warmup_steps == 4
    assert (arguments.bf16, arguments.seed, arguments.data_seed) == (True, 9, 9)
    assert arguments.save_total_limit == 2
    assert arguments.report_to in ([], "none", ["none"])
    assert (arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps) == (2, 2)
    compiled = training_arguments(settings, altered(EXECUTION, compile=True), tmp_path, 9, block=BLOCK)
    assert compiled.torch_compile


@pytest.mark.parametrize(
    ("sequences", "processes", "device_sequences", "expected"),
    [(1024, 8, 8, (8, 16)), (1024, 1, 8, (8, 128)), (12, 2, 4, (3, 2)), (12, 4, 8, (3, 1)), (4, 1, 32, (4, 1))],
)
def test_accumulation(sequences, processes, device_sequences, expected):
    assert accumulation(sequences, processes, device_sequences) == expected


def test_batch_that_cannot_be_shared_out():
    with pytest.raises(ConfigurationError, match="12 sequences a step for 8 processes"):
        accumulation(12, 8, 1)
    with pytest.raises(ConfigurationError, match=f"no multiple of block {BLOCK}"):
        altered(SETTINGS, batch_tokens=50).sequences(BLOCK)


def test_deepspeed_configuration():
    """ZeRO-3 gathers weights for the checkpoint; nothing in it contradicts Trainer's arguments, which fill in the rest."""
    assert deepspeed_configuration(0) is None
    assert deepspeed_configuration(2)["zero_optimization"]["stage"] == 2
    three = deepspeed_configuration(3)
    assert three["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]
    assert {key for key, value in three.items() if value == "auto"} == {
        "gradient_clipping", "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps",
    }  # fmt: skip
