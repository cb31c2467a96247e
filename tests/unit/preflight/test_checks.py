"""Checks before a run: sources, disk, memory, the cluster; and the tables that are printed."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.project import write_model
from tokalign.cluster.slurm import JobRequest
from tokalign.common.errors import InputError
from tokalign.preflight import checks, estimates, tables
from tokalign.preflight.checks import Check, Sizes, Training
from tokalign.preflight.dry_run import DryRun, parse_dry_run
from tokalign.preflight.estimates import ModelSize, Stage

SIZE = ModelSize(154_000_000, 10_000, 1000, True)
STAGE = {
    "name": "s",
    "train": "all",
    "steps": 100,
    "batch_tokens": 8 * 512,
    "device_sequences": 4,
    "gpus": 1,
    "precision": "bfloat16",
}


class Hub(BaseHTTPRequestHandler):
    """A hub with an open model, a gated data set, and nothing else."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/api/models/owner/open/revision/main":
            self.answer(200, {"id": "owner/open", "sha": "a" * 40})
        elif path == "/api/datasets/owner/gated/revision/main":
            self.answer(200, {"id": "owner/gated", "sha": "b" * 40, "gated": "manual"})
        elif path == "/api/models/owner/open/auth-check":
            self.answer(200, {})
        elif path == "/api/datasets/owner/gated/auth-check":
            self.answer(403, {"error": "gated"}, "GatedRepo")
        else:
            self.answer(404, {"error": "not found"}, "RepoNotFound")

    def answer(self, status: int, content: dict, code: str | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub on this machine, to which the client is directed."""
    import huggingface_hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        original = huggingface_hub.HfApi
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: original(endpoint=address, token=False))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield address
        server.shutdown()


def source(name: str, kind: str = "model", path: str = "missing") -> dict[str, str]:
    return {"path": path, "kind": kind, "name": name, "revision": "main"}


def test_access_to_the_hub(hub: str):
    sources = [source("owner/open"), source("owner/open"), source("owner/gated", "dataset"), source("owner/none")]
    found = {check.name: check for check in checks.check_sources(sources, offline=False)}
    assert set(found) == {"model owner/open", "dataset owner/gated", "model owner/none"}
    assert found["model owner/open"].ok and found["model owner/open"].found == "commit aaaaaaaaaaaa"
    gated = found["dataset owner/gated"]
    assert gated.ok is False and "https://huggingface.co/datasets/owner/gated" in gated.mend and "HF_TOKEN" in gated.mend
    assert found["model owner/none"].ok is False and "no such repository" in found["model owner/none"].found


def test_hub_that_does_not_answer(hub: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Hub, "do_GET", lambda self: self.answer(500, {"error": "down"}))
    (check,) = checks.check_sources([source("owner/open")], offline=False)
    assert check.ok is False and "the hub cannot be reached" in check.found and "HF_HUB_OFFLINE=1" in check.mend


def test_sources_without_network_or_already_there(tmp_path: Path):
    (check,) = checks.check_sources([source("owner/open"), source("owner/b")], offline=True)
    assert check.ok is None and "skipped: no network" in check.found and "access to 2: owner/b, owner/open" in check.expected
    (check,) = checks.check_sources([source("owner/open", path=str(tmp_path))], offline=False)
    assert check.ok and "nothing left" in check.found


def test_wheels(monkeypatch: pytest.MonkeyPatch):
    def index(command: list[str], **_: object):
        class Done:
            returncode = 0 if command[-1] == "there" else 1
            stdout = "there (1.2)\nAvailable versions: 1.2, 1.0\n"

        return Done

    monkeypatch.setattr(checks.subprocess, "run", index)
    sources = [{"path": "missing", "kind": "wheel", "name": name} for name in ("there==1.0", "there==3", "other==1")]
    assert [check.ok for check in checks.check_sources(sources, offline=False)] == [False, True, False]


def test_size_of_a_local_model(tmp_path: Path):
    write_model(tmp_path / "model", rows=328)
    size, note = checks.model_size({"folder": str(tmp_path / "model")}, tmp_path / "info.json", offline=True)
    # 2 layers of 4 x 32 x 32 and 3 x 32 x 64 with 2 norms of 32, one norm more, tied embeddings
    assert (size, note) == (ModelSize(2 * (4 * 32 * 32 + 3 * 32 * 64 + 64) + 32 + 328 * 32, 328, 32, True), "")


def test_size_that_the_workflow_has_found(tmp_path: Path):
    info = {"parameters": 154_000_000, "embedding_rows": 10_000, "hidden_size": 1000, "tied": True}
    (tmp_path / "info.json").write_text(json.dumps(info))
    assert checks.model_size({"hub": "a/b", "revision": "c"}, tmp_path / "info.json", offline=True) == (SIZE, "")


def test_size_before_anything_is_fetched(tmp_path: Path):
    size, note = checks.model_size({"hub": "EleutherAI/pythia-1b", "revision": "main"}, tmp_path / "no", offline=True)
    assert size == ModelSize.typical(10**9) and note == "size from its name"
    size, note = checks.model_size({"gguf": "models/unnamed.gguf"}, tmp_path / "no", offline=True)
    assert size is None and "not known" in note


def test_size_in_a_configuration():
    neox = {"hidden_size": 2048, "vocab_size": 50304, "tie_word_embeddings": False}
    assert checks.size_of_config(neox, 10**9) == ModelSize(10**9, 50304, 2048, False)
    assert checks.size_of_config({"text_config": neox, "hidden_size": 9}, 10**9) == ModelSize(10**9, 50304, 2048, False)
    assert checks.size_of_config({"n_embd": 768, "vocab_size": 50257}, 1) == ModelSize(1, 50257, 768, True)
    assert checks.size_of_config({"vocab_size": 50257}, 1) is None


def test_disk_counts_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/there").mkdir(parents=True)
    sizes = Sizes({"m": SIZE, "unknown": None}, {"t": 20_000})
    items = [
        {"path": "results/there", "bytes": 10**18},
        {"path": "results/text", "bytes": 10**9},
        {"path": "results/initialized", "model": "m", "tokenizer": "t"},
        {"path": "work/x/states", "model": "m", "tokenizer": None, "stage": STAGE, "block": 512},
        {"path": "results/y", "model": "unknown", "tokenizer": None},
    ]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**13, 0, 7 * 10**9))
    (check,) = checks.check_disk(items, sizes)
    # 1 GB, 4 x 164e6, and three states of 12 x 154e6
    assert check.expected == f"about {(10**9 + 656e6 + 36 * 154e6) / 1e9:.1f} GB, without unknown, whose size is not known"
    assert check.ok is False and check.name == "disk space of results/ and work/" and check.found == "7.0 GB free"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**13, 0, 10**10))
    assert checks.check_disk(items, sizes)[0].ok
    assert checks.check_disk(items[:1], sizes)[0].ok


def training(gpus: int = 1, *, done: bool = False, size: ModelSize | None = SIZE) -> Training:
    labels = {"experiment": "e", "model": "m", "tokenizer": "t", "recipe": "r", "seed": "1", "stage": "s"}
    return Training(labels, Stage.of({**STAGE, "gpus": gpus}, 512), size, done)


def test_memory_of_the_gpu():
    (check,) = checks.check_gpu_memory([training(), training()], "nvidia_h100")
    assert check.ok and check.found == "h100 with 80 GB" and check.name == "GPU memory: r.s of m, t"
    big = ModelSize(10**10, 50_000, 5120, False)
    (check,) = checks.check_gpu_memory([training(size=big)], "h100")
    assert check.ok is False and "zero: 3" in check.mend
    assert checks.check_gpu_memory([training(gpus=0), training(done=True), training(size=None)], "h100") == []
    assert checks.check_gpu_memory([training()], "made-up")[0].ok is None


def test_trainings_are_planned_once(tmp_path: Path):
    labels = training().labels
    items = [{"path": str(tmp_path / name), "labels": labels, "stage": STAGE, "block": 512} for name in ("a", "a", "b")]
    (tmp_path / "b").mkdir()
    first, second = checks.trainings(items, Sizes({"m": SIZE}, {"t": 20_000}))
    assert (first.done, second.done) == (False, True)
    assert first.size == SIZE.with_rows(20_000) and first.stage.tokens == 100 * 8 * 512
    memory = estimates.asked_memory_mb(estimates.training_memory_mb(first.size, first.stage))
    assert checks.training_memory_mb([first, second], None) == memory
    assert checks.training_memory_mb([first, second], 7000) == 7000
    assert checks.training_memory_mb([second], 7000) is None


SITE = {"slurm": True, "partitions": {"cpu": 0, "h100": 8}, "account": "research"}


def fake_slurm(monkeypatch: pytest.MonkeyPatch, **answers: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")

    def run(*command: str) -> str:
        if command[0] not in answers:
            raise InputError(f"{command[0]}: failed", found="no answer")
        return answers[command[0]]

    monkeypatch.setattr(checks, "slurm", run)


def test_cluster_with_room(monkeypatch: pytest.MonkeyPatch):
    lines = "cpu|up|infinite|2|32|128000|(null)\nh100|up|2-00:00:00|1|32|256000|gpu:h100:4\n"
    fake_slurm(monkeypatch, sinfo=lines, sacctmgr="research\nother\n")
    found = checks.check_slurm([JobRequest("train_stage", 64000, 8, 1440, 1, "h100")], None, SITE)
    assert [(check.name, check.ok) for check in found] == [
        ("partition cpu", True), ("partition h100", True), ("room for all jobs", True), ("account research", True)
    ]  # fmt: skip


def test_cluster_that_does_not_fit(monkeypatch: pytest.MonkeyPatch):
    fake_slurm(monkeypatch, sinfo="cpu|down|infinite|2|32|128000|(null)\nbig|up|60:00|1|8|64000|(null)\n", sacctmgr="other\n")
    results = checks.check_slurm(
        [JobRequest("train_stage", 64000, 8, 1440)], None, {**SITE, "partitions": {"cpu": 0, "h100": 8, "big": 0}}
    )
    found = {check.name: check for check in results}
    assert [check.ok for check in results] == [False, False, True, False, False]
    assert (found["partition cpu"].found, found["partition h100"].found) == ("not up", "not there")
    assert found["room for train_stage"].found == "partition cpu: it is not up"
    assert "set-resources: train_stage" in found["room for train_stage"].mend
    assert found["account research"].found == "other"
    (*_, room, _) = checks.check_slurm([JobRequest("train_stage", 64000, 8, 60)], 70000, {**SITE, "partitions": {"big": 0}})
    assert room.found == "partition big: 70000 MB, a node has 64000"


def test_more_gpus_than_the_profile_lets_a_job_have(monkeypatch: pytest.MonkeyPatch):
    """The Slurm plugin would find no partition for it, though the nodes are there."""
    fake_slurm(
        monkeypatch, sinfo="cpu|up|infinite|2|32|128000|(null)\nh100|up|infinite|4|32|256000|gpu:h100:4\n", sacctmgr="research\n"
    )
    (*_, room, _) = checks.check_slurm([JobRequest("train_stage", 64000, 8, 1440, 4, "h100", 3)], None, SITE)
    assert (room.ok, room.found) == (False, "partition h100: 12 GPUs in all, max_gpu in partitions.yaml is 8")
    assert "raise max_gpu" in room.mend
    for request, site in (
        (JobRequest("train_stage", gpus=4, nodes=2), SITE),
        (JobRequest("x", gpus=4, nodes=3), {**SITE, "partitions": {}}),
    ):
        assert all(check.ok for check in checks.check_slurm([request], None, site))


def test_accounting_that_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    fake_slurm(monkeypatch, sinfo="cpu|up|infinite|2|32|128000|(null)\nh100|up|infinite|1|1|1|gpu:1\n")
    assert checks.check_slurm([], None, SITE)[-1].ok is None


def test_machine_without_slurm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (check,) = checks.check_slurm([], None, SITE)
    assert check.ok is False and "Slurm is not on this machine" in check.found
    first, second = checks.check_slurm([], 10**9, {**SITE, "slurm": False})
    assert first.ok is None and second.ok is False and second.expected == "1000000000 MB to train"


def test_table_of_checks():
    checks = [
        Check("configuration", "valid", "valid", True),
        Check("disk", "x" * 100, "room", False, "free some"),
        Check("c", "d", "e", None),
    ]
    text = tables.checks_table(checks)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["ok", "FAILS", "-"]
    assert "x" * 61 + "..." in lines[3] and f"  found:    {'x' * 100}" in lines and "  to mend:  free some" in lines


def test_table_of_trainings():
    plan = [training(), training(done=True), training(size=None), training(gpus=0)]
    lines = tables.trainings_table(plan, "h100", {"model m": "size from its name"}).splitlines()
    cost = estimates.gpu_hours(SIZE, plan[0].stage, "h100")
    columns = [line.split()[-3] for line in lines[2:6]]
    assert columns[:3] == [f"{cost:.1f}", "done", "?"]
    # 100 x 8 x 512 tokens x (6 x 154e6 + 2 x 144e6) operations on 8 threads of 1e11 a second, 35 % of it: 1,773 s
    assert lines[5].split()[-4:-2] == ["(0.5", "h)"]
    assert "0.4" in lines[2]  # million tokens
    assert lines[6].startswith("In all about 0 GPU hours on h100 at 35% of its peak, without the stages marked ?")
    assert lines[7] == "Rough: model m: size from its name."


def test_table_of_jobs():
    plan = parse_dry_run(
        "rule a:\nrule b:\nGroup job g (jobs in lexicogr. order):\n    rule c:\n    rule c:\nGroup job g (jobs in lexicogr. order):\n    rule c:\n"
    )
    assert tables.jobs_table(plan, ["b"], slurm=True).splitlines()[2:] == [
        "a     1",
        "b     1     here",
        "c     3     in 2 groups g",
        "5 jobs: 1 where snakemake runs, 4 others as 3 jobs of Slurm.",
    ]
    assert tables.jobs_table(DryRun(), [], slurm=False).endswith("0 jobs.")


def test_run_that_cannot_be_planned(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be planned"):
        checks.dry_run(["bash", "-c", "echo no rule; exit 1"], tmp_path)
