"""A stage of training: that an interruption changes nothing, what is refused, held-out text, mixtures."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.settings import altered
from support.shards import write_shard
from support.training import (
    ALONE,
    BLOCK,
    EXECUTION,
    MODELS,
    SEED,
    SETTINGS,
    VOCABULARY,
    assert_same_bits,
    comparable,
    data,
    llama,
    metrics,
    train,
)
from tokalign.common.errors import InputError, StageStoppedError
from tokalign.config.recipes import Execution, Mixture
from tokalign.tokens.packing import PackedBlocks, pack_shards
from tokalign.training import callback, stage, trainer
from tokalign.training import data as stage_data
from tokalign.training.heldout import HeldoutText
from tokalign.training.order import data_order
from tokalign.training.policies import select_parameters
from tokalign.training.saved_states import COMPLETE, last_state
from transformers import PreTrainedModel

# --- data ---


@pytest.fixture
def fed(monkeypatch) -> list[int]:
    """Return a list that every block is appended to when it is given to the model."""
    seen: list[int] = []
    get = stage_data.ScheduledBlocks.__getitem__

    def watch(self, index):
        seen.append(int(self.order[index, 1]))
        return get(self, index)

    monkeypatch.setattr(stage_data.ScheduledBlocks, "__getitem__", watch)
    return seen


def test_second_stage_goes_on_with_the_data_behind_the_first(blocks, tmp_path, fed):
    train(blocks, tmp_path / "1", altered(SETTINGS, steps=3))
    train(blocks, tmp_path / "2", altered(SETTINGS, steps=4, name="stage2"), used=12)
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
    get = stage_data.ScheduledBlocks.__getitem__
    done = []

    def watch(self, index):
        if index == number and not done:
            done.append(index)
            act()
        return get(self, index)

    monkeypatch.setattr(stage_data.ScheduledBlocks, "__getitem__", watch)


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


def test_size_of_a_saved_state(blocks, tmp_path):
    """What lies on the disk after a stage: 12 bytes for each trained parameter, and little else; DeepSpeed saves all weights besides."""
    settings = altered(SETTINGS, train="embeddings", steps=1)
    train(blocks, tmp_path, settings, make=MODELS["untied"])
    model = select_parameters(MODELS["untied"](), "embeddings")
    large = sum((tmp_path / "checkpoint-1" / name).stat().st_size for name in (trainer.TRAINED, "optimizer.pt"))
    assert trainer.size_of_state(model, 0, "bfloat16") == 12 * 2 * VOCABULARY * 16
    assert large == pytest.approx(12 * 2 * VOCABULARY * 16, rel=0.2)
    everything = sum(parameter.numel() for parameter in model.parameters())
    assert trainer.size_of_state(model, 2, "bfloat16") == 12 * 2 * VOCABULARY * 16 + 2 * everything
    assert trainer.size_of_state(model, 3, "float32") == 12 * 2 * VOCABULARY * 16 + 4 * everything


def test_time_to_save_is_kept_free_before_anything_was_saved(blocks, tmp_path, monkeypatch):
    """At a guessed rate: a state that would take hours is saved hours before the limit."""
    monkeypatch.setattr(callback, "SAVE_RATE", 1.0)
    with pytest.raises(StageStoppedError, match="time limit of the job is near; step 1 of 6"):
        train(blocks, tmp_path, SETTINGS, altered(EXECUTION, save_steps=6), deadline=time.monotonic() + 3600)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal_and_continued(blocks, tmp_path, monkeypatch, uninterrupted, number):
    handler = signal.getsignal(number)
    at_block(monkeypatch, 9, lambda: os.kill(os.getpid(), number))  # within step 3
    with pytest.raises(StageStoppedError, match=f"signal {number.name}; step [23] of 6"):
        train(blocks, tmp_path)
    assert signal.getsignal(number) is handler
    assert_same_bits(train(blocks, tmp_path), uninterrupted[0])
    assert comparable(tmp_path) == uninterrupted[1]


def test_line_of_metrics_covers_steps_before_an_interruption(blocks, tmp_path, monkeypatch):
    """Lines every four steps, an interruption after the third: the line of step 4 has the mean of four losses."""
    execution = altered(EXECUTION, log_steps=4, save_steps=1)
    with monkeypatch.context() as patch:
        at_block(patch, 12, crash)  # within step 4
        with pytest.raises(RuntimeError):
            train(blocks, tmp_path / "1", SETTINGS, execution)
    train(blocks, tmp_path / "1", SETTINGS, execution)
    train(blocks, tmp_path / "2", SETTINGS, execution)
    assert comparable(tmp_path / "1") == comparable(tmp_path / "2")
    assert [row["step"] for row in metrics(tmp_path / "1")] == [4]


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
    settings = altered(SETTINGS, train=what)
    reference = train(blocks, tmp_path / "1", settings, make=MODELS[name])
    assert not torch.equal(reference.lm_head.weight, MODELS[name]().lm_head.weight)
    at_block(monkeypatch, 17, crash)
    with pytest.raises(RuntimeError):
        train(blocks, tmp_path / "2", settings, make=MODELS[name])
    assert_same_bits(train(blocks, tmp_path / "2", settings, make=MODELS[name]), reference)
    assert comparable(tmp_path / "1") == comparable(tmp_path / "2")


def test_how_often_it_saves_and_logs_may_change(blocks, tmp_path, monkeypatch, uninterrupted):
    """A state remembers how often it was to be saved; what the continued run is told counts."""
    with monkeypatch.context() as patch:
        at_block(patch, 13, crash)  # within step 4
        with pytest.raises(RuntimeError):
            train(blocks, tmp_path)
    with monkeypatch.context() as patch:
        at_block(patch, 22, crash)  # within step 6
        with pytest.raises(RuntimeError):
            train(blocks, tmp_path, SETTINGS, altered(EXECUTION, save_steps=3, log_steps=2))
    assert states(tmp_path) == ["checkpoint-2", "checkpoint-3"]
    assert [row["step"] for row in metrics(tmp_path)] == [1, 2, 4]
    assert_same_bits(train(blocks, tmp_path), uninterrupted[0])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(path: Path) -> None:
    """Change one bit of the last byte, as a failing disk does."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("damage", ["no marker", "cut", "missing", "changed"])
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
        "missing": (newest / trainer.TRAINED).unlink,
        "changed": lambda: change(newest / trainer.TRAINED),
    }[damage]()
    fed.clear()
    with caplog.at_level(logging.WARNING):
        assert last_state(tmp_path) == tmp_path / "checkpoint-2"
    assert f"checkpoint-4 is {'incomplete' if damage == 'no marker' else 'damaged'}" in caplog.text
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


# --- refusals ---


def poisoned(blocks: PackedBlocks, state: Path, monkeypatch, execution: Execution) -> str:
    """Train with weights that become NaN after the first step; return the message."""

    class Poison(stage.StageCallback):
        def on_step_end(self, args, state, control, model=None, **rest):
            super().on_step_end(args, state, control, model=model, **rest)
            if state.global_step == 1:
                with torch.no_grad():
                    model.get_input_embeddings().weight.fill_(math.nan)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "StageCallback", Poison)
        with pytest.raises(InputError) as caught:
            train(blocks, state, SETTINGS, execution)
    return str(caught.value)


def test_loss_that_is_not_a_number(blocks, tmp_path, monkeypatch):
    text = poisoned(blocks, tmp_path, monkeypatch, altered(EXECUTION, save_steps=6))
    assert text.startswith("stage1: the loss of step 2 is nan")
    assert "lower learning_rate" in text
    assert [row["step"] for row in metrics(tmp_path)] == [1]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_state_with_nan_is_not_saved(blocks, tmp_path, monkeypatch):
    """The step whose loss is NaN is one at which a state is saved."""
    poisoned(blocks, tmp_path, monkeypatch, EXECUTION)
    assert states(tmp_path) == []


def test_state_with_weights_that_are_not_finite_is_not_kept(blocks, tmp_path, monkeypatch):
    """The loss of the last step was still finite, and between two log lines nobody looks at it."""
    text = poisoned(blocks, tmp_path, monkeypatch, altered(EXECUTION, save_steps=1, log_steps=6))
    assert "weights that are not finite" in text
    assert last_state(tmp_path) is None


def test_loss_that_runs_away(blocks, tmp_path):
    """A learning rate that is far too large: the mean of ten lines is soon above the lowest before, and the stage ends."""
    settings = altered(SETTINGS, steps=60, learning_rate=1.0, warmup_ratio=0.5, max_grad_norm=100.0)
    with pytest.raises(InputError, match=r"the mean loss of 10 lines rose from \d") as caught:
        train(blocks, tmp_path, settings, altered(EXECUTION, max_loss_rise=0.5, save_steps=5))
    assert "lower learning_rate" in str(caught.value)
    assert 10 < metrics(tmp_path)[-1]["step"] < 60
    assert last_state(tmp_path) is not None
    train(blocks, tmp_path / "unguarded", settings)


# --- held-out text ---


@pytest.fixture(scope="module")
def heldout(tmp_path_factory) -> HeldoutText:
    generator = np.random.default_rng(3)
    documents = [generator.integers(1, VOCABULARY, n).tolist() for n in (5, 30, 1, 12, 40)]
    return HeldoutText(write_shard(tmp_path_factory.mktemp("heldout") / "a.arrow", documents), 10**9, BLOCK, 0)


def test_bits_per_byte_on_heldout_text(blocks, heldout, tmp_path):
    """At the beginning, at intervals and at the end; the value is that of a plain sum over windows of a block."""
    model = train(data(blocks, heldout=heldout), tmp_path, SETTINGS, altered(EXECUTION, heldout_steps=4))
    rows = {row["step"]: row["heldout_bits_per_byte"] for row in metrics(tmp_path) if "heldout_bits_per_byte" in row}
    assert list(rows) == [0, 4, 6]
    assert "loss" not in metrics(tmp_path)[0]
    for step, made in ((0, llama()), (6, model)):
        nats = 0.0
        for ids in heldout.sequences:
            for begin in range(0, len(ids) - 1, BLOCK):
                part = torch.from_numpy(ids[begin : begin + BLOCK + 1])[None]
                with torch.no_grad():
                    scores = torch.log_softmax(made.eval()(input_ids=part[:, :-1]).logits, dim=-1)
                nats -= float(scores[0, torch.arange(part.shape[1] - 1), part[0, 1:]].sum())
        assert rows[step] == pytest.approx(nats / (math.log(2) * heldout.bytes), rel=1e-5)


def test_measuring_changes_nothing_and_is_continued(blocks, heldout, tmp_path, monkeypatch, uninterrupted):
    execution = altered(EXECUTION, heldout_steps=2)
    with monkeypatch.context() as patch:
        at_block(patch, 18, crash)
        with pytest.raises(RuntimeError):
            train(data(blocks, heldout=heldout), tmp_path, SETTINGS, execution)
    assert_same_bits(train(data(blocks, heldout=heldout), tmp_path, SETTINGS, execution), uninterrupted[0])
    assert [row["step"] for row in metrics(tmp_path) if "heldout_bits_per_byte" in row] == [0, 2, 4, 6]


def test_best_weights_are_published(blocks, heldout, tmp_path):
    """Those of the measurement with the fewest bits, wherever it was; a high learning rate makes later ones worse."""
    settings = altered(SETTINGS, steps=8, learning_rate=1.0, publish="best of all", max_grad_norm=50.0, schedule="constant")
    execution = altered(EXECUTION, heldout_steps=1)
    model = llama()
    given = data(blocks, heldout=heldout)
    values = stage.train_stage(model, given, settings, execution, seed=SEED, state=tmp_path, deadline=None, processes=ALONE)
    measured = {row["step"]: row["heldout_bits_per_byte"] for row in metrics(tmp_path)}
    best = min(measured, key=measured.get)
    assert best < 8
    with torch.no_grad():
        for name, value in values.items():
            model.get_parameter(name).copy_(value)
    assert heldout.bits_per_byte(model, ALONE) == pytest.approx(measured[best], rel=1e-6)


# --- documents and mixtures ---


def test_document_mask_is_training_on_documents_alone(tmp_path):
    """Two documents in a block, masked, give the loss of the two by themselves: mean over all tokens that have a label."""
    first, second = [5, 6, 7, 8, 9, 0], [11, 12, 13, 14, 15, 16]
    pack_shards([write_shard(tmp_path / "a.arrow", [first[:-1], [*second, 1]])], BLOCK, 0, tmp_path / "blocks")
    settings = altered(SETTINGS, steps=1, batch_tokens=BLOCK, document_mask=True)
    train(PackedBlocks.open(tmp_path / "blocks"), tmp_path / "state", settings)
    model, nats = llama().eval(), 0.0
    for document in (first, second):
        ids = torch.tensor(document)[None]
        with torch.no_grad():
            scores = torch.log_softmax(model(input_ids=ids).logits, dim=-1)
        nats -= float(scores[0, torch.arange(5), ids[0, 1:]].sum())
    assert metrics(tmp_path / "state")[0]["loss"] == pytest.approx(nats / 10, rel=1e-4)


def test_mixture_takes_its_share_of_both(blocks, tmp_path, fed):
    """A quarter of the sequences come from the second corpus, evenly, each corpus in its own order and place."""
    other = PackedBlocks([np.full((8, BLOCK), 1, dtype=np.uint32)], BLOCK)
    given = data(blocks, mixed=other, used=(3, 2))
    train(given, tmp_path, altered(SETTINGS, mixture=Mixture(corpus="other", share=0.25)))
    expected = []
    own, second = iter(data_order(20, 3, 18, SEED)), iter(data_order(8, 2, 6, SEED))
    for number in range(24):
        expected.append(int(next(second if number % 4 == 3 else own)))
    assert fed == expected
