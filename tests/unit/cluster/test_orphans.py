"""Jobs that a killed snakemake left, with a queue made of a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import ROOT
from tokalign.cluster import orphans
from tokalign.cluster.orphans import QueuedJob, drivers, own_jobs, parse_queue
from tokalign.common.errors import InputError, TokalignError

COMMAND = [sys.executable, str(ROOT / "workflow/scripts/commands/cluster/cancel_orphans.py")]

# A canceled job of this queue is completing while it is looked at twice, and then gone; job 13 never ends.
SQUEUE = r"""#!/bin/bash
cat {queue}
sed -i -E '/^[0-9]+\|COMPLETING2\|/d; s/^([0-9]+)\|COMPLETING\|/\1|COMPLETING2|/' {queue}
"""
SCANCEL = r"""#!/bin/bash
echo "$@" >> {canceled}
for job in "$@"; do [ "$job" = 13 ] || sed -i -E "s/^$job\|[A-Z]+\|/$job|COMPLETING|/" {queue}; done
"""


class Queue:
    """A folder with programs that stand for Slurm."""

    def __init__(self, folder: Path):
        """Write the programs."""
        self.project, self.queue, self.canceled = folder / "project", folder / "queue", folder / "canceled"
        self.project.mkdir()
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
            (self.programs / name).write_text(text.format(queue=self.queue, canceled=self.canceled))
            (self.programs / name).chmod(0o755)
        self.canceled.touch()

    def fill(self, *jobs: str) -> None:
        """Put jobs of three rules into the queue, and some that are not ours."""
        others = [
            f"90|RUNNING|mine|{self.project}|by hand",
            "91|RUNNING|run|/elsewhere|rule_train_stage",
            f"92|PENDING|x|{self.project}|",
        ]
        lines = [f"{job}|RUNNING|run-id|{self.project}|rule_train_stage_wildcards_a|b" for job in jobs]
        self.queue.write_text("\n".join([*lines, *others]) + "\n")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command in the project."""
        environment = os.environ | {"PATH": f"{self.programs}:{os.environ['PATH']}"}
        return subprocess.run(
            [*COMMAND, *arguments], cwd=self.project, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def test_lines_of_the_queue():
    text = "7|RUNNING|id|/a/b|rule_tokens_tokenize_shard\n8|PENDING|id|/a/b|rule_x_wildcards_c|d\n\n"
    first, second = parse_queue(text)
    assert first == QueuedJob("7", "RUNNING", "id", "/a/b", "rule_tokens_tokenize_shard")
    assert (first.rule, second.rule) == ("tokens_tokenize_shard", "x c|d")


def test_jobs_of_this_folder_by_whatever_name(tmp_path: Path):
    (tmp_path / "project").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "project")
    jobs = [
        QueuedJob("1", "RUNNING", "id", str(tmp_path / folder), "rule_x")
        for folder in ("project", "link", "other", "project/sub")
    ]
    assert own_jobs(jobs, tmp_path / "link") == jobs[:2]


def test_jobs_are_listed_and_left_alone(queue: Queue):
    queue.fill("11", "12")
    result = queue.run()
    assert result.returncode == 0, result.stdout
    assert "11  RUNNING" in result.stdout and "12  RUNNING" in result.stdout and "train_stage" in result.stdout
    assert "make orphans" in result.stdout and "90" not in result.stdout and "91" not in result.stdout
    assert queue.canceled.read_text() == ""


def test_jobs_are_canceled_and_waited_for(queue: Queue):
    queue.fill("11", "12")
    result = queue.run("--cancel")
    assert result.returncode == 0, result.stdout
    assert queue.canceled.read_text() == "11 12\n"
    assert "2 of 2 jobs are still ending" in result.stdout and "all jobs have ended" in result.stdout
    assert "snakemake --unlock" in result.stdout
    assert [line.split("|")[0] for line in queue.queue.read_text().splitlines()] == ["90", "91", "92"]


def test_nothing_to_cancel(queue: Queue):
    queue.fill()
    result = queue.run("--cancel")
    assert result.returncode == 0 and "No jobs" in result.stdout and queue.canceled.read_text() == ""


def test_job_that_does_not_end(queue: Queue):
    queue.fill("11", "13")
    result = queue.run("--cancel", "--wait", "3")
    assert result.returncode == 1
    assert "1 canceled jobs have not ended within 3 s" in result.stdout and "scancel --signal=KILL 13" in result.stdout


def test_queue_that_does_not_answer(queue: Queue):
    (queue.programs / "squeue").write_text("#!/bin/bash\necho 'slurm_load_jobs error: Unable to contact' >&2\nexit 1\n")
    result = queue.run()
    assert result.returncode == 1 and "squeue: failed" in result.stdout and "Unable to contact" in result.stdout


def test_machine_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no such program"):
        orphans.queued(tmp_path)


@pytest.mark.parametrize("inside", [False, True])
def test_snakemake_that_is_still_alive(queue: Queue, inside: bool):
    queue.fill("11")
    program = queue.programs / "snakemake"
    program.write_text("import sys\nprint('up', flush=True)\nsys.stdin.read()\n")
    command = [sys.executable, str(program), "--profile", "slurm", *(["--mode", "remote"] if inside else [])]
    with subprocess.Popen(command, cwd=queue.project, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        result = queue.run("--cancel")
        assert (process.pid in drivers(queue.project)) != inside
        assert drivers(queue.programs) == {}
        process.stdin.close()
    if inside:  # one within a job
        assert result.returncode == 0 and queue.canceled.read_text() == "11\n"
    else:
        assert result.returncode == 1 and queue.canceled.read_text() == ""
        assert "a snakemake is still at work here" in result.stdout and f"process {process.pid}" in result.stdout
    with_none = drivers(queue.project)
    assert with_none == {}


def test_check_names_the_process(tmp_path: Path):
    entry = tmp_path / "proc/77"
    entry.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    (entry / "cmdline").write_text("/venv/bin/python\0-m\0snakemake\0--profile\0slurm\0")
    (entry / "cwd").symlink_to(tmp_path)
    with pytest.raises(TokalignError, match="process 77: /venv/bin/python -m snakemake --profile slurm"):
        orphans.check_no_driver(tmp_path, tmp_path / "proc")
