"""A tiny project and the Slurm cluster that it runs on."""

from __future__ import annotations

import copy
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.project import ROOT, Project

QUICK = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5", "--jobs", "6")


@dataclass(frozen=True)
class Job:
    """A row of Slurm's accounting."""

    number: int
    rule: str
    partition: str
    allocated: dict[str, str]
    state: str
    elapsed: str


class Slurm:
    """A tiny project and the cluster that it runs on."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        """Make a project whose trainings and evaluations request a GPU."""
        self.environment = environment
        self.project = project = Project(folder)
        project.config["corpora"]["tiny"]["shards"] = 1
        project.config["experiments"][0]["baselines"] = []
        (stage, _) = stages = project.config["recipes"]["short"]["stages"]
        del stages[1:]
        stage["gpus"] = project.config["evaluations"]["heldout"]["gpus"] = 1
        without = project.config["recipes"]["without"] = copy.deepcopy(project.config["recipes"]["short"])
        without["stages"][0]["gpus"] = 0
        project.config["recipes"]["stopped"] = copy.deepcopy(project.config["recipes"]["short"])
        project.config["recipes"]["gres"] = copy.deepcopy(project.config["recipes"]["short"])
        project.config["recipes"]["endless"] = copy.deepcopy(without)
        project.config["recipes"]["endless"]["stages"][0]["steps"] = 1_000_000
        project.write()

    def command(self, *arguments: str, profile: str = "slurm") -> list[str]:
        """Return the command line of snakemake on the cluster."""
        options = ("--profile", profile, "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml", *QUICK)
        return ["snakemake", *arguments, *options]

    def snakemake(self, *arguments: str, profile: str = "slurm") -> str:
        """Run ``snakemake --profile slurm`` and return what it printed."""
        result = subprocess.run(
            self.command(*arguments, profile=profile),
            cwd=self.project.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert result.returncode == 0, result.stdout[-6000:]
        return result.stdout

    def jobs(self) -> list[Job]:
        """Return all jobs of the project so far, from Slurm's accounting."""
        columns = "JobIDRaw,Comment,Partition,AllocTRES,State,Elapsed,WorkDir"
        output = subprocess.run(
            ["sacct", "-X", "-n", "-P", "-S", "now-1days", "-o", columns],
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        found = []
        for line in output.splitlines():
            number, comment, partition, tres, state, elapsed, folder = line.split("|")
            if folder != str(self.project.folder):
                continue
            rule = re.fullmatch(r"rule_(.+?)(_wildcards_.*)?", comment)
            assert rule, comment
            allocated = dict(item.split("=") for item in tres.split(","))
            found.append(Job(int(number), rule[1], partition, allocated, state, elapsed))
        return found

    def log(self, job: Job) -> str:
        """Return what a job printed."""
        (path,) = (self.project.folder / "slurm-logs").rglob(f"{job.number}.log")
        return path.read_text()

    def since(self, before: list[Job]) -> list[Job]:
        """Return the jobs submitted after these, in order."""
        known = {job.number for job in before}
        return sorted((job for job in self.jobs() if job.number not in known), key=lambda job: job.number)
