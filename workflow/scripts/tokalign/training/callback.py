"""Work around the training steps: metrics, progress, measurements, a guard, and stopping in time."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tokalign.common.progress import duration, quantity
from tokalign.config.recipes import Execution
from tokalign.models.device import peak_memory
from tokalign.training.heldout import HeldoutText
from tokalign.training.processes import Processes
from tokalign.training.saved_states import mark_complete

log = logging.getLogger(__name__)

GUARD_WINDOW = 10
"""Number of logged losses whose mean the guard checks."""
RESERVE_SECONDS = 30
SAVE_RATE = 5e8
"""Assumed speed of writing a state and reading it back for its checksums until one was saved [bytes/s]."""


@dataclass(frozen=True)
class MetricScale:
    """Numbers from which metrics are computed.

    Attributes:
        block: tokens in a sequence.
        batch: sequences in a step.
        used: tokens that earlier stages trained on.
        bytes_per_token: bytes per token of the training text.
        operations: floating point operations per token.
        peak: peak operations per second of all devices together.
        state: size of a saved state [bytes].
    """

    block: int
    batch: int
    used: int
    bytes_per_token: float
    operations: float
    peak: float
    state: int


class StageCallback(TrainerCallback):
    """Writes metrics and progress, marks saved states as complete, and stops the stage in time.

    All processes call it together; the first one writes.

    Args:
        metrics: JSONL file with a line per log step; it survives interruptions.
        scale: numbers for the metrics.
        execution: how the stage runs.
        processes: processes that train together.
        deadline: time (``time.monotonic``) at which the job will be killed; ``None`` for never.
        heldout: text to measure on, or ``None``.
        finite: returns whether the trained weights of this process are finite.
        keep_best: called at each new best on the held-out text; ``None`` if the last weights are published.
    """

    def __init__(
        self,
        metrics: Path,
        scale: MetricScale,
        execution: Execution,
        processes: Processes,
        *,
        deadline: float | None,
        heldout: HeldoutText | None,
        finite: Callable[[], bool],
        keep_best: Callable[[float, int], None] | None,
    ):
        """Store the arguments and start with empty records."""
        self.metrics, self.scale, self.execution, self.processes = metrics, scale, execution, processes
        self.deadline, self.heldout, self.finite, self.keep_best = deadline, heldout, finite, keep_best
        self.stop_reason: str | None = None
        self.failure: str | None = None
        self.signal: str | None = None
        self.started = self.last_step_at = time.monotonic()
        self.first_step = 0
        self.longest_step = self.paused = 0.0
        self.save_seconds, self.has_saved = scale.state / SAVE_RATE, False
        self.losses: list[float] = []
        self.lowest = float("inf")
        self.best = float("inf")
        self.measured: float | None = None
        self.board: Board | None = None

    # ---- beginning ----

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module | None = None, **_: Any
    ) -> None:
        """Drop metrics after the resumed state, measure the start, and start the clock."""
        state.compute_steps(args, state.max_steps)  # a saved state keeps its old log and save intervals
        self.first_step = state.global_step
        kept = self.processes.from_first(self._lines_until(state.global_step) if self.processes.is_first else None)
        for line in kept:
            self._take_in(json.loads(line))
        if self.processes.is_first:
            self.metrics.write_text("".join(kept))
            self.board = Board(self.metrics.parent / "tensorboard", state.global_step + 1)
        if self.heldout and not kept and state.global_step == 0:
            self._measure(model, 0)
            self._write({"step": 0, "tokens": self.scale.used, "heldout_bits_per_byte": self.measured})
            self.measured = None
        self.started = self.last_step_at = time.monotonic()
        self.paused = 0.0

    def _lines_until(self, step: int) -> list[str]:
        """Return the lines of metrics up to a step."""
        lines = self.metrics.read_text().splitlines(True) if self.metrics.exists() else []
        whole = (line for line in lines if line.endswith("\n"))  # a full disk may have cut the last one
        return [line for line in whole if json.loads(line)["step"] <= step]

    def _take_in(self, record: dict[str, Any]) -> None:
        """Update the records of the guard and of the best measurement with a line of metrics."""
        if record.get("loss") is not None:
            self.losses.append(record["loss"])
            if len(self.losses) >= GUARD_WINDOW:
                self.lowest = min(self.lowest, float(np.mean(self.losses[-GUARD_WINDOW:])))
        if record.get("heldout_bits_per_byte") is not None:
            self.best = min(self.best, record["heldout_bits_per_byte"])

    # ---- steps ----

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module | None = None, **_: Any
    ) -> None:
        """Measure on held-out text; save and stop after a signal or before the deadline."""
        step, every = state.global_step, self.execution.heldout_steps
        if self.heldout and every and (step % every == 0 or step == state.max_steps):
            self._measure(model, step)
            control.should_log = True
        now = time.monotonic()
        self.longest_step = max(self.longest_step, now - self.last_step_at)
        self.last_step_at = now
        needed = 2 * self.longest_step + 2 * self.save_seconds + RESERVE_SECONDS
        late = self.deadline is not None and now + needed > self.deadline
        verdict = self.processes.largest(2 if self.signal else 1 if late else 0)  # all processes stop at the same step
        if verdict and self.stop_reason is None:
            self.stop_reason = (
                (self.signal or "a signal to another process") if verdict == 2 else "the time limit of the job is near"
            )
        if self.stop_reason is not None and step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def _measure(self, model: nn.Module, step: int) -> None:
        """Measure bits per byte on the held-out text."""
        begin = time.monotonic()
        self.measured = self.heldout.bits_per_byte(model, self.processes)
        seconds = time.monotonic() - begin
        self.paused += seconds
        log.info("step %d: %.4f bits per byte on held-out text (%s)", step, self.measured, duration(seconds))
        if self.measured < self.best:
            self.best = self.measured
            if self.keep_best:
                self.keep_best(self.measured, step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict | None = None, **_: Any
    ) -> None:
        """Write a line of metrics and one of progress; stop if the loss is not finite or diverges."""
        if not logs or "loss" not in logs:
            return
        if not np.isfinite(logs["loss"]):
            self._fail(control, f"the loss of step {state.global_step} is {logs['loss']}")
            return
        scale = self.scale
        steps, seconds = state.global_step - self.first_step, max(time.monotonic() - self.started - self.paused, 1e-9)
        rate = steps * scale.batch * scale.block / seconds
        record = {
            "step": state.global_step,
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs.get("grad_norm"),
            "tokens": scale.used + state.global_step * scale.batch * scale.block,
            "tokens_per_second": rate,
            "bytes_per_second": rate * scale.bytes_per_token,
            "flops_utilization": rate * scale.operations / scale.peak,
            "memory_bytes": peak_memory(self.processes.device),
        }
        if self.measured is not None:
            record["heldout_bits_per_byte"], self.measured = self.measured, None
        self._write(record)
        before = self.lowest
        self._take_in(record)
        log.info(
            "step %d of %d (%.0f %%), loss %.4f, learning rate %.2e, %s tokens/s, %s left",
            state.global_step,
            state.max_steps,
            100 * state.global_step / state.max_steps,
            logs["loss"],
            logs["learning_rate"],
            quantity(rate),
            duration((state.max_steps - state.global_step) * seconds / max(steps, 1)),
        )
        limit = self.execution.max_loss_rise
        mean = float(np.mean(self.losses[-GUARD_WINDOW:]))
        if limit is not None and len(self.losses) >= GUARD_WINDOW and mean > before + limit:
            self._fail(
                control, f"the mean loss of {GUARD_WINDOW} lines rose from {before:.3f} to {mean:.3f} at step {state.global_step}"
            )

    def _fail(self, control: TrainerControl, reason: str) -> None:
        """Stop without saving."""
        self.failure = reason
        control.should_training_stop = True
        control.should_save = False

    def _write(self, record: dict[str, Any]) -> None:
        """Append a line of metrics and tell TensorBoard."""
        if not self.processes.is_first:
            return
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self.board.write(record)

    # ---- saving ----

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Mark the saved state as complete, if its weights are finite; else stop."""
        if self.processes.any(not self.finite()):  # also a barrier: every process has written its part
            self._fail(control, f"the loss of step {state.global_step} or one before it made weights that are not finite")
            return
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        if self.processes.is_first:
            mark_complete(folder, state.global_step, {"zero": self.execution.zero, "processes": self.processes.world})
        self.processes.wait()
        now = time.monotonic()
        took = now - self.last_step_at
        self.save_seconds, self.has_saved = max(self.save_seconds, took) if self.has_saved else took, True
        self.paused += took
        self.last_step_at = now
        log.info("saved the state of step %d", state.global_step)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the log for TensorBoard."""
        if self.board:
            self.board.close()


class Board:
    """A TensorBoard file, written at once.

    The writer of tensorboardX has a thread that hangs when the disk is full.

    Args:
        folder: folder of the file.
        first: step from which TensorBoard ignores older files in the folder, as these steps are written again.
    """

    def __init__(self, folder: Path, first: int):
        """Open a new file."""
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = EventsWriter(str(folder / "events"))
        self.writer.write_event(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

    def write(self, record: dict[str, Any]) -> None:
        """Write a line of metrics."""
        for name, value in record.items():
            if name != "step" and value is not None:
                self.writer.write_event(Event(summary=scalar(name, value), step=record["step"], wall_time=time.time()))
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()


def write_board(metrics: Path, folder: Path) -> None:
    """Write a TensorBoard file from all lines of metrics.

    Args:
        metrics: JSONL file.
        folder: folder of the new file.
    """
    board = Board(folder, 0)
    for line in metrics.read_text().splitlines():
        board.write(json.loads(line))
    board.close()
