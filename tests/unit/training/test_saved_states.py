"""Saved states: which are whole, what they depend on, who may write them, and room for them."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import threading
import time
from collections import namedtuple

import pytest
from support.settings import altered
from support.training import SETTINGS
from tokalign.common.errors import ArtifactError, InputError
from tokalign.training.saved_states import (
    check_fingerprint,
    check_layout,
    check_room,
    exclusive,
    fingerprint,
    last_state,
    mark_complete,
    state_bytes,
)

DIGESTS = {"model.safetensors": "aa", "blocks": "bb"}


def test_last_state(tmp_path):
    """The newest by its step that is whole; damaged newer ones go, older ones stay."""
    assert last_state(tmp_path) is None
    for step in (2, 10, 9):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "global_step").mkdir(parents=True)
        (folder / "global_step/part").write_text("abc")
        mark_complete(folder, step, {"zero": 0, "processes": 1})
    assert last_state(tmp_path) == tmp_path / "checkpoint-10"
    (tmp_path / "checkpoint-10/global_step/part").write_text("abd")
    assert last_state(tmp_path) == tmp_path / "checkpoint-9"
    assert not (tmp_path / "checkpoint-10").exists()
    (tmp_path / "checkpoint-9/global_step/part").unlink()
    (tmp_path / "checkpoint-2/complete.json").write_text("{")
    assert last_state(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_layout_of_processes(tmp_path):
    """A state without ZeRO is continued by any number of processes; one of DeepSpeed by as many as wrote it."""
    mark_complete(tmp_path, 1, {"zero": 0, "processes": 1})
    check_layout(tmp_path, {"zero": 0, "processes": 4})
    with pytest.raises(ArtifactError, match="zero 0 with 1 processes, now zero 2 with 1"):
        check_layout(tmp_path, {"zero": 2, "processes": 1})
    mark_complete(tmp_path, 1, {"zero": 3, "processes": 2})
    check_layout(tmp_path, {"zero": 3, "processes": 2})
    with pytest.raises(ArtifactError, match="set zero, gpus, nodes or processes back"):
        check_layout(tmp_path, {"zero": 3, "processes": 4})


def test_fingerprint_names_what_changed(tmp_path):
    first = fingerprint(DIGESTS, SETTINGS, 1, [0, 0], 1)
    check_fingerprint(tmp_path, first)
    check_fingerprint(tmp_path, first)
    for other, message in (
        (fingerprint(DIGESTS | {"blocks": "cc"}, SETTINGS, 1, [0, 0], 1), "inputs.blocks: bb -> cc"),
        (fingerprint(DIGESTS, altered(SETTINGS, learning_rate=0.5), 1, [0, 0], 1), "settings.learning_rate: 0.01 -> 0.5"),
        (
            fingerprint(DIGESTS, altered(SETTINGS, steps=7), 2, [24, 0], 1),
            "seed: 1 -> 2; settings.steps: 6 -> 7; used_sequences: [0, 0] -> [24, 0]",
        ),
        (fingerprint({"blocks": "bb"}, SETTINGS, 1, [0, 0], 2), "inputs.model.safetensors: aa -> None; version: 1 -> 2"),
    ):
        with pytest.raises(ArtifactError) as caught:
            check_fingerprint(tmp_path, other)
        assert f"found:    {message}\n" in str(caught.value)
        assert f"rm -r {tmp_path}" in str(caught.value)


def test_room(tmp_path, monkeypatch):
    """Three states of 12 bytes a parameter and the checkpoint are needed; states that lie there already count."""
    usage = namedtuple("usage", "total used free")
    state, output = tmp_path / "work/state", tmp_path / "results/out"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 3 * 12 * 1000 + 500))
    check_room(state, output, state_bytes(1000), 500)
    with pytest.raises(InputError) as caught:
        check_room(state, output, state_bytes(1_000_000_000), 2_000_000_000)
    assert "found:    0.00 GB free" in str(caught.value)
    assert "expected: 38.00 GB: 3 saved states of 12.00 GB" in str(caught.value)
    with pytest.raises(InputError):
        check_room(state, output, state_bytes(1001), 500)
    state.mkdir(parents=True)
    (state / "old").write_bytes(bytes(36))
    check_room(state, output, state_bytes(1001), 500)


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


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks(tmp_path, monkeypatch, caplog, number):
    """The training goes on with a warning that says what can happen and how to avoid it; other errors are not taken for it."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "state.lock"
    path.write_text("process 7 on node1\n")
    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), exclusive(path):
        assert path.read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"
    (message,) = caplog.messages
    assert "knows no locks" in message and "process 7 on node1" in message and "cancel_orphans.py" in message
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output"), exclusive(path):
        pass


def test_lock_of_a_node_that_failed(tmp_path, caplog):
    """A server may keep the lock of a node that is gone; removing the file, as the message says, lets the next process go on."""
    path, inside = tmp_path / "state.lock", threading.Event()

    def second() -> None:
        with exclusive(path, poll=0.01):
            inside.set()

    thread = threading.Thread(target=second)
    with caplog.at_level(logging.WARNING), exclusive(path):
        thread.start()
        end = time.monotonic() + 30
        while f"rm {path}" not in caplog.text:
            assert time.monotonic() < end and not inside.is_set()
            time.sleep(0.01)
        path.unlink()
        assert inside.wait(30)
    thread.join(30)
