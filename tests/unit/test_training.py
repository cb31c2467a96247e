"""A stage of training: what it trains, against a loop written by hand, and that an interruption changes nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shards_for_tests import write_shard
from tokalign import training
from tokalign.errors import ArtefactError, InputError, StageStoppedError
from tokalign.packing import PackedBlocks, data_order, pack_shards
from tokalign.training import (
    COMPLETE,
    StageSettings,
    check_fingerprint,
    exclusive,
    fingerprint,
    finished_model,
    last_state,
    select_parameters,
    train_stage,
    training_arguments,
)
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

VOCABULARY, BLOCK, SEED = 50, 12, 5
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 32, "initializer_range": 0.2,
}  # fmt: skip
SETTINGS = StageSettings(
    name="stage1", train="all", steps=6, learning_rate=0.01, batch_sequences=4, device_sequences=2, schedule="cosine",
    warmup_ratio=0.3, weight_decay=0.01, max_grad_norm=0.3, precision="float32", gradient_checkpointing=False, save_steps=2,
    log_steps=1,
)  # fmt: skip


def llama(tied: bool = True) -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied, bos_token_id=None, eos_token_id=0))


def gpt_neox() -> PreTrainedModel:
    torch.manual_seed(0)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE, tie_word_embeddings=False, hidden_dropout=0.1, attention_dropout=0.1))


MODELS = {"tied": llama, "untied": lambda: llama(tied=False), "gpt_neox": gpt_neox}


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices are fastest so, and no other test sees it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory) -> PackedBlocks:
    """Twenty blocks of random tokens: fewer than the sequences of a stage, so that it goes through the data twice."""
    folder = tmp_path_factory.mktemp("blocks")
    ids = np.random.default_rng(0).integers(1, VOCABULARY, 20 * BLOCK - 1).tolist()
    pack_shards([write_shard(folder / "a.arrow", [ids])], BLOCK, 0, folder / "blocks")
    return PackedBlocks.open(folder / "blocks")


def train(
    blocks: PackedBlocks, state: Path, settings: StageSettings = SETTINGS, *,
    make: Callable[[], PreTrainedModel] = llama, used: int = 0, deadline: float | None = None,
) -> PreTrainedModel:  # fmt: skip
    model = make()
    train_stage(model, blocks, settings, seed=SEED, used=used, state=state, deadline=deadline)
    return model


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_same_bits(first: PreTrainedModel, second: PreTrainedModel) -> None:
    for name, parameter in weights(second).items():
        assert torch.equal(first.get_parameter(name), parameter), name


def metrics(state: Path) -> list[dict]:
    return [json.loads(line) for line in (state / "metrics.jsonl").read_text().splitlines()]


def comparable(state: Path) -> list[dict]:
    """Return the metrics without the one that is measured in time."""
    return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in metrics(state)]


# --- what is trained ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tied", {"model.embed_tokens.weight"}),
        ("untied", {"model.embed_tokens.weight", "lm_head.weight"}),
        ("gpt_neox", {"gpt_neox.embed_in.weight", "lm_head.weight"}),
    ],
)
def test_select_parameters(name, expected):
    model = MODELS[name]()
    every = set(weights(model))
    select_parameters(model, "embeddings")
    assert {n for n, p in model.named_parameters() if p.requires_grad} == expected
    select_parameters(model, "all")
    assert {n for n, p in model.named_parameters() if p.requires_grad} == every
    assert len(every) > 15
    with pytest.raises(InputError, match="embeddings or all"):
        select_parameters(model, "head")


@pytest.mark.parametrize("name", MODELS)
def test_stage_of_embeddings_changes_only_these(name, blocks, tmp_path):
    before = weights(MODELS[name]())
    after = weights(train(blocks, tmp_path, replace(SETTINGS, train="embeddings", steps=2), make=MODELS[name]))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if "embed" in key or "lm_head" in key}


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
    order = data_order(len(blocks), used, settings.steps * settings.batch_sequences, SEED)
    losses, norm_of = [], []
    for step in range(settings.steps):
        rows = order[step * settings.batch_sequences : (step + 1) * settings.batch_sequences]
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
    [{}, {"schedule": "linear", "device_sequences": 8}, {"schedule": "constant", "weight_decay": 0.5, "max_grad_norm": 50.0},
     {"gradient_checkpointing": True, "warmup_ratio": 0.0, "device_sequences": 1}],
)  # fmt: skip
def test_equals_a_loop_by_hand(blocks, tmp_path, changes):
    """Loss, clipping, weight decay, warm-up, schedule, accumulation and data are what the settings say."""
    settings = replace(SETTINGS, **changes)
    made = train(blocks, tmp_path, settings)
    model, losses, norms = by_hand(blocks, settings)
    assert [row["loss"] for row in metrics(tmp_path)] == pytest.approx(losses, rel=1e-3)
    assert [row["grad_norm"] for row in metrics(tmp_path)] == pytest.approx(norms, rel=1e-3)
    assert min(norms) > 0.3  # clipping at 0.3 does something
    for name, parameter in weights(model).items():
        assert made.get_parameter(name).detach().numpy() == pytest.approx(parameter.numpy(), abs=2e-4), name
    assert [row["tokens"] for row in metrics(tmp_path)] == [4 * BLOCK * step for step in range(1, 7)]


class Watching(training.StageCallback):
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
    monkeypatch.setattr(training, "StageCallback", Watching)
    return Watching.seen


@pytest.mark.parametrize("name", ["untied", "gpt_neox"])
def test_weight_decay_on_matrices_only(name, blocks, tmp_path, watched):
    model = train(blocks, tmp_path, replace(SETTINGS, steps=1), make=MODELS[name])
    assert watched[0]["decay"] == {n: 0.01 if p.ndim == 2 else 0.0 for n, p in model.named_parameters()}
    assert 0.0 in watched[0]["decay"].values()


def test_optimizer_of_embeddings_has_nothing_else(blocks, tmp_path, watched):
    train(blocks, tmp_path, replace(SETTINGS, steps=1, train="embeddings"), make=MODELS["untied"])
    assert watched[0]["decay"] == {"model.embed_tokens.weight": 0.01, "lm_head.weight": 0.01}
    assert watched[0]["kind"] is torch.optim.AdamW


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule_and_clipping(schedule, blocks, tmp_path, watched):
    settings = replace(SETTINGS, steps=10, warmup_ratio=0.2, schedule=schedule, log_steps=5)
    train(blocks, tmp_path, settings)
    rates = [step["rate"] for step in watched]
    assert rates[:3] == pytest.approx([0.0, 0.005, 0.01])
    assert rates[6] == pytest.approx({"cosine": 0.005, "linear": 0.005, "constant": 0.01}[schedule])
    assert rates[9] == pytest.approx(
        {"cosine": 0.005 * (1 + math.cos(math.pi * 7 / 8)), "linear": 0.00125, "constant": 0.01}[schedule]
    )
    assert [step["norm"] for step in watched] == pytest.approx([0.3] * 10, rel=1e-4)
    assert [row["step"] for row in metrics(tmp_path)] == [5, 10]


def test_arguments(tmp_path):
    """What neither of the tests above sees."""
    arguments = training_arguments(replace(SETTINGS, steps=100, warmup_ratio=0.031, precision="bfloat16"), tmp_path, 9)
    assert arguments.warmup_steps == 4
    assert (arguments.bf16, arguments.seed, arguments.data_seed) == (True, 9, 9)
    assert arguments.save_total_limit == 2
    assert arguments.report_to in ([], "none", ["none"])
    assert training_arguments(replace(SETTINGS, device_sequences=32), tmp_path, 9).gradient_accumulation_steps == 1


# --- data ---


@pytest.fixture
def fed(monkeypatch) -> list[int]:
    """Return a list that every block is appended to when it is given to the model."""
    seen: list[int] = []
    get = training.ScheduledBlocks.__getitem__

    def watch(self, index):
        seen.append(int(self.order[index]))
        return get(self, index)

    monkeypatch.setattr(training.ScheduledBlocks, "__getitem__", watch)
    return seen


def test_second_stage_goes_on_with_the_data_behind_the_first(blocks, tmp_path, fed):
    train(blocks, tmp_path / "1", replace(SETTINGS, steps=3))
    train(blocks, tmp_path / "2", replace(SETTINGS, steps=4, name="stage2"), used=12)
    assert fed == data_order(20, 0, 28, SEED).tolist()
    assert sorted(fed[:20]) == list(range(20))  # a whole pass through the data, across both stages
    assert [row["tokens"] for row in metrics(tmp_path / "2")] == [BLOCK * (12 + 4 * step) for step in range(1, 5)]


# --- interruptions ---


@pytest.fixture(scope="module")
def uninterrupted(blocks, tmp_path_factory) -> tuple[PreTrainedModel, list[dict]]:
    torch.set_num_threads(1)
    state = tmp_path_factory.mktemp("uninterrupted")
    return train(blocks, state), comparable(state)


def at_block(monkeypatch, number: int, act: Callable[[], None]) -> None:
    """Do something, once, when the sequence of this number is asked for."""
    get = training.ScheduledBlocks.__getitem__
    done = []

    def watch(self, index):
        if index == number and not done:
            done.append(index)
            act()
        return get(self, index)

    monkeypatch.setattr(training.ScheduledBlocks, "__getitem__", watch)


def states(state: Path) -> list[str]:
    return sorted(path.name for path in state.glob("checkpoint-*"))


def test_the_same_again(blocks, tmp_path, uninterrupted):
    """Without that, the tests below would show nothing."""
    assert_same_bits(train(blocks, tmp_path), uninterrupted[0])
    assert comparable(tmp_path) == uninterrupted[1]


def test_stopped_before_the_time_limit_and_continued(blocks, tmp_path, uninterrupted):
    """A time limit that is near stops after every step; the steps together are those of one run."""
    for step in range(1, 6):
        with pytest.raises(StageStoppedError, match=rf"time limit of the job is near; step {step} of 6 is saved in {tmp_path}"):
            train(blocks, tmp_path, deadline=time.monotonic() + 1)
        assert [row["step"] for row in metrics(tmp_path)] == list(range(1, step + 1))
    assert_same_bits(train(blocks, tmp_path, deadline=time.monotonic() + 1), uninterrupted[0])
    assert comparable(tmp_path) == uninterrupted[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal_and_continued(blocks, tmp_path, monkeypatch, uninterrupted, number):
    handler = signal.getsignal(number)
    at_block(monkeypatch, 9, lambda: os.kill(os.getpid(), number))  # within step 3
    with pytest.raises(StageStoppedError, match=f"signal {number.name}; step [23] of 6"):
        train(blocks, tmp_path)
    assert signal.getsignal(number) is handler
    assert_same_bits(train(blocks, tmp_path), uninterrupted[0])
    assert comparable(tmp_path) == uninterrupted[1]


def crash() -> None:
    raise RuntimeError("the machine is gone")


def test_crashed_and_continued(blocks, tmp_path, monkeypatch, uninterrupted):
    """A run that ends in the middle of a step goes on from the state that was saved last."""
    at_block(monkeypatch, 22, crash)  # within step 6
    with pytest.raises(RuntimeError, match="the machine is gone"):
        train(blocks, tmp_path)
    assert states(tmp_path) == ["checkpoint-2", "checkpoint-4"]
    assert metrics(tmp_path)[-1]["step"] == 5
    assert_same_bits(train(blocks, tmp_path), uninterrupted[0])
    assert comparable(tmp_path) == uninterrupted[1]


@pytest.mark.parametrize("name", ["untied", "gpt_neox"])
@pytest.mark.parametrize("what", ["embeddings", "all"])
def test_other_architectures_are_continued_too(name, what, blocks, tmp_path, monkeypatch):
    """An LM head of its own, which GPT-NeoX saves under another name than its module's; random numbers of dropout."""
    settings = replace(SETTINGS, train=what)
    reference = train(blocks, tmp_path / "1", settings, make=MODELS[name])
    assert not torch.equal(reference.lm_head.weight, MODELS[name]().lm_head.weight)
    at_block(monkeypatch, 17, crash)
    with pytest.raises(RuntimeError):
        train(blocks, tmp_path / "2", settings, make=MODELS[name])
    assert_same_bits(train(blocks, tmp_path / "2", settings, make=MODELS[name]), reference)
    assert comparable(tmp_path / "1") == comparable(tmp_path / "2")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", ["no marker", "cut", "missing"])
def test_incomplete_state_is_dropped_and_the_one_before_is_used(
    blocks, tmp_path, monkeypatch, uninterrupted, fed, caplog, damage
):
    with monkeypatch.context() as patch:
        at_block(patch, 20, crash)
        with pytest.raises(RuntimeError):
            train(blocks, tmp_path)
    newest = tmp_path / "checkpoint-4"
    {
        "no marker": (newest / COMPLETE).unlink,
        "cut": lambda: cut(newest / "optimizer.pt"),
        "missing": (newest / "model.safetensors").unlink,
    }[damage]()
    fed.clear()
    with caplog.at_level(logging.WARNING):
        assert last_state(tmp_path) == tmp_path / "checkpoint-2"
    assert "checkpoint-4 is incomplete" in caplog.text
    assert not newest.exists()
    made = train(blocks, tmp_path)
    assert fed[-16:] == data_order(20, 8, 16, SEED).tolist()  # from step 3 on
    assert_same_bits(made, uninterrupted[0])
    assert comparable(tmp_path) == uninterrupted[1]


def test_line_of_metrics_that_was_cut(blocks, tmp_path, monkeypatch, uninterrupted):
    """As a full disk leaves it."""
    with monkeypatch.context() as patch:
        at_block(patch, 13, crash)
        with pytest.raises(RuntimeError):
            train(blocks, tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    train(blocks, tmp_path)
    assert comparable(tmp_path) == uninterrupted[1]


def test_last_state(tmp_path):
    assert last_state(tmp_path) is None
    for step in (2, 10, 9):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "a").write_text("abc")
        (folder / COMPLETE).write_text(json.dumps({"step": step, "files": {"a": 3}}))
    assert last_state(tmp_path) == tmp_path / "checkpoint-10"
    for step in (10, 9, 2):
        (tmp_path / f"checkpoint-{step}/a").write_text("ab")
    assert last_state(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


# --- refusals ---


def poisoned(blocks: PackedBlocks, state: Path, monkeypatch, settings: StageSettings) -> str:
    """Train with weights that become NaN after the first step; return the message."""

    class Poison(training.StageCallback):
        def on_step_end(self, args, state, control, model=None, **rest):
            super().on_step_end(args, state, control, model=model, **rest)
            if state.global_step == 1:
                with torch.no_grad():
                    model.get_input_embeddings().weight.fill_(math.nan)

    with monkeypatch.context() as patch:
        patch.setattr(training, "StageCallback", Poison)
        with pytest.raises(InputError) as caught:
            train(blocks, state, settings)
    return str(caught.value)


def test_loss_that_is_not_a_number(blocks, tmp_path, monkeypatch):
    text = poisoned(blocks, tmp_path, monkeypatch, replace(SETTINGS, save_steps=6))
    assert text.startswith("stage1: the loss of step 2 is nan")
    assert "lower learning_rate" in text
    assert [row["step"] for row in metrics(tmp_path)] == [1]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_state_with_nan_is_not_saved(blocks, tmp_path, monkeypatch):
    """The step whose loss is NaN is one at which a state is saved."""
    poisoned(blocks, tmp_path, monkeypatch, SETTINGS)
    assert states(tmp_path) == []


def test_state_with_weights_that_are_not_finite_is_not_kept(blocks, tmp_path, monkeypatch):
    """The loss of the last step was still finite, and between two log lines nobody looks at it."""
    text = poisoned(blocks, tmp_path, monkeypatch, replace(SETTINGS, save_steps=1, log_steps=6))
    assert "weights that are not finite" in text
    assert last_state(tmp_path) is None


DIGESTS = {"model.safetensors": "aa", "blocks": "bb"}


def test_fingerprint_names_what_changed(tmp_path):
    first = fingerprint(DIGESTS, SETTINGS, 1, 0, 1)
    check_fingerprint(tmp_path, first)
    check_fingerprint(tmp_path, first)
    for other, message in (
        (fingerprint(DIGESTS | {"blocks": "cc"}, SETTINGS, 1, 0, 1), "inputs.blocks: bb -> cc"),
        (fingerprint(DIGESTS, replace(SETTINGS, learning_rate=0.5), 1, 0, 1), "settings.learning_rate: 0.01 -> 0.5"),
        (
            fingerprint(DIGESTS, replace(SETTINGS, steps=7), 2, 24, 1),
            "seed: 1 -> 2; settings.steps: 6 -> 7; used_sequences: 0 -> 24",
        ),
        (fingerprint({"blocks": "bb"}, SETTINGS, 1, 0, 2), "inputs.model.safetensors: aa -> None; version: 1 -> 2"),
    ):
        with pytest.raises(ArtefactError) as caught:
            check_fingerprint(tmp_path, other)
        assert f"found:    {message}\n" in str(caught.value)
        assert f"rm -r {tmp_path}" in str(caught.value)


def test_how_often_a_state_is_saved_does_not_matter(tmp_path):
    check_fingerprint(tmp_path, fingerprint(DIGESTS, SETTINGS, 1, 0, 1))
    check_fingerprint(tmp_path, fingerprint(DIGESTS, replace(SETTINGS, save_steps=50, log_steps=7), 1, 0, 1))


# --- the rest ---


def test_only_one_process_trains_at_a_time(tmp_path):
    path, events, inside = tmp_path / "deep/state.lock", [], threading.Event()

    def second() -> None:
        inside.set()
        with exclusive(path, poll=0.01):
            events.append("second")

    thread = threading.Thread(target=second)
    with exclusive(path):
        assert path.read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"
        thread.start()
        assert inside.wait(30)
        thread.join(0.2)  # time in which it could come in, if nothing held it back
        events.append("first")
    thread.join(30)
    assert events == ["first", "second"]


def test_finished_model():
    model = llama()
    select_parameters(model, "embeddings")
    model.config.use_cache = False
    made = finished_model(model, torch.bfloat16)
    assert made.dtype == torch.bfloat16
    assert made.config.use_cache
    assert all(parameter.requires_grad for parameter in made.parameters())
