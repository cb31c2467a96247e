"""Saved states of a training: completeness, fingerprint, lock and disk space."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tokalign.common.errors import ArtifactError, InputError
from tokalign.common.files import read_json, write_json
from tokalign.config.recipes import StageSettings
from tokalign.training.settings import SAVED_STATES

log = logging.getLogger(__name__)

COMPLETE = "complete.json"
"""File written into a saved state once all its files are on disk; a state without it is never continued."""
CHUNK = 1 << 24
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of flock where it does not work: NFS without lockd, Lustre mounted without flock, some FUSE file systems."""


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            value = zlib.crc32(part, value)
    return value


def mark_complete(folder: Path, step: int, layout: dict[str, int]) -> None:
    """Flush the files of a saved state to disk and mark it as complete.

    Args:
        folder: folder of the state.
        step: step after which it was saved.
        layout: layout of processes that can read it: ``zero`` and ``processes``.
    """
    files = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != COMPLETE):
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        files[str(file.relative_to(folder))] = [file.stat().st_size, checksum(file)]
    write_json(folder / COMPLETE, {"step": step, "layout": layout, "files": files})


def _wrong(folder: Path) -> str | None:
    """Return what is wrong with a saved state, or ``None``."""
    if not (folder / COMPLETE).exists():
        return "is incomplete (the job ended while it was written)"
    try:
        files = read_json(folder / COMPLETE)["files"]
    except (ArtifactError, KeyError, TypeError):
        return f"is damaged ({COMPLETE} cannot be read)"
    for name, (size, crc) in files.items():
        file = folder / name
        if not file.is_file():
            return f"is damaged ({name} is missing)"
        if file.stat().st_size != size:
            return f"is damaged ({name} has {file.stat().st_size} bytes, not {size})"
        if checksum(file) != crc:
            return f"is damaged (the content of {name} is not what was written)"
    return None


def last_state(state: Path) -> Path | None:
    """Return the newest complete saved state, or ``None``; remove damaged newer ones with a warning."""
    folders = sorted(state.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]), reverse=True)
    for folder in folders:
        wrong = _wrong(folder)
        if wrong is None:
            return folder
        log.warning("%s %s and is removed", folder, wrong)
        shutil.rmtree(folder)
    return None


def check_layout(folder: Path, layout: dict[str, int]) -> None:
    """Check that the processes of this run can read a saved state.

    Any number of processes can read a state without ZeRO. DeepSpeed saves one part per process.

    Raises:
        ArtifactError: ZeRO stage or number of processes differ.
    """
    saved = read_json(folder / COMPLETE)["layout"]
    if saved["zero"] != layout["zero"] or (saved["zero"] and saved["processes"] != layout["processes"]):
        raise ArtifactError(
            f"{folder}: saved by another layout of processes",
            found=f"zero {saved['zero']} with {saved['processes']} processes, now zero {layout['zero']} with {layout['processes']}",
            expected="the same while a stage is being trained (without ZeRO, any number of processes)",
            mend=f"set zero, gpus, nodes or processes back to finish this stage, or start it afresh with: rm -r {folder.parent}",
        )


def fingerprint(inputs: dict[str, str], settings: StageSettings, seed: int, used: list[int], version: int) -> dict[str, Any]:
    """Return everything a saved state depends on; how the stage runs (``Execution``) does not matter.

    Args:
        inputs: digests by name.
        settings: settings of the stage.
        seed: seed of the data order.
        used: sequences of earlier stages, of the corpus and of the one mixed in.
        version: version of the training code.
    """
    return {"inputs": inputs, "settings": settings.content(), "seed": seed, "used_sequences": used, "version": version}


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            d
            for key in sorted({*old, *new})
            for d in _differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)
        ]
    return [] if old == new else [f"{place}: {old} -> {new}"]


def check_fingerprint(state: Path, expected: dict[str, Any]) -> None:
    """Write the fingerprint of a training to its working folder, or compare it with the one there.

    Raises:
        ArtifactError: the folder holds the state of a training with other inputs or settings.
    """
    path = state / "fingerprint.json"
    if not path.exists():
        write_json(path, expected)
        return
    differences = _differences(read_json(path), expected)
    if differences:
        raise ArtifactError(
            f"{state}: holds the unfinished state of another training",
            found="; ".join(differences),
            expected="the same inputs and settings as when it was interrupted",
            mend=f"undo the change to continue it, or start afresh with: rm -r {state}",
        )


def state_bytes(trained: int, whole: int = 0) -> int:
    """Return the size of a saved state in bytes.

    Per trained parameter a weight and two moments of AdamW, float32.

    Args:
        trained: parameters that are trained.
        whole: bytes of the weights of the whole model, which DeepSpeed also saves.
    """
    return 12 * trained + whole


def check_room(state: Path, output: Path, size: int, checkpoint: int) -> None:
    """Check that there is room for what the stage will write.

    Args:
        state: working folder, for saved states.
        output: folder of the finished checkpoint.
        size: size of a saved state [bytes].
        checkpoint: bytes of the finished checkpoint.

    Raises:
        InputError: a file system has too little room.
    """
    there = sum(file.stat().st_size for file in state.rglob("*") if file.is_file()) if state.exists() else 0
    needs = {state: max(0, (SAVED_STATES + 1) * size - there), output: checkpoint}
    by_device: dict[int, tuple[Path, int]] = {}
    for folder, needed in needs.items():
        place = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
        first, before = by_device.get(place.stat().st_dev, (place, 0))
        by_device[place.stat().st_dev] = first, before + needed
    for place, needed in by_device.values():
        free = shutil.disk_usage(place).free
        if free < needed:
            raise InputError(
                f"{place}: not enough room for this stage",
                found=f"{free / 1e9:.2f} GB free",
                expected=f"{needed / 1e9:.2f} GB: {SAVED_STATES + 1} saved states of {size / 1e9:.2f} GB and the checkpoint",
                mend="free space there, or run the workflow in a folder on a larger file system; nothing was written",
            )


@contextlib.contextmanager
def exclusive(path: Path, poll: float = 1.0) -> Iterator[None]:
    """Hold a lock file, waiting for another process at the same training; the lock ends with its process.

    The file system of a cluster may not support locks, or may keep the lock of a failed node. In the first case there is a
    warning and no lock; in the second, a waiting process continues when the file is removed.

    Args:
        path: lock file; it names the last process that took it.
        poll: seconds between two attempts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waited = 0.0
    while True:
        with path.open("a+") as file:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if _lock(file, holder) and _is_at(file, path):
                file.seek(0)
                file.truncate()
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
                yield
                return
        if waited % 30 == 0:
            log.warning(
                "another process (%s) is at this training; waiting for it to end (should its node have failed for good: rm %s)",
                holder,
                path,
            )
        time.sleep(poll)
        waited += poll


def _lock(file: IO[str], holder: str) -> bool:
    """Try to lock a file; if the file system does not support locks, warn and return true.

    Args:
        file: open for writing.
        holder: the last process that held it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning(
            "%s: the file system knows no locks (%s), so nothing keeps two processes from training this at the same time; the last one"
            " that began was %s. If a snakemake was killed, end its jobs before you start another:"
            " python workflow/scripts/commands/cluster/cancel_orphans.py",
            file.name,
            error.strerror,
            holder,
        )
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
