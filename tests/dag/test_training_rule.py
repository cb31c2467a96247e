"""What the training rule requests from a cluster, and that execution settings do not make a stage rerun."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string
from support.project import Project

STAGE = "results/adapted/llama--new/tiny/tokalign/short/s1/stage1"


class Resources(dict):
    """Resources of a job, as the Slurm plugin reads them."""

    __getattr__ = dict.__getitem__


def planned(project: Project, stage: dict[str, Any]) -> tuple[Resources, int, str]:
    """Return resources, threads and command of the training in a dry run with the Slurm profile."""
    project.config["recipes"]["short"]["stages"][0] |= stage
    project.write()
    arguments = (STAGE, "-n", "-p", "--cores", "512", "--set-resources", "train_stage:gpu_model=h100")
    shown = project.run(*arguments, profile="profiles/slurm").stdout
    (block,) = re.findall(r"^rule train_stage:\n((?: {4}.*\n|\s*\n)+)", shown, re.MULTILINE)
    execution = re.search(r"execution=(\{.*?\}), ", block)[0]
    pairs = re.search(r"resources: (.*)", block.replace(execution, ""))[1].split(", ")
    values = Resources((key, int(value) if value.isdigit() else value) for key, value in (pair.split("=", 1) for pair in pairs))
    (command,) = re.findall(r"launch_training\.py (.*?) --model", shown)
    return values, int(re.search(r"threads: (\d+)", block)[1]), command


def sbatch(resources: Resources, threads: int) -> str:
    """Return the plugin's own sbatch line for a job with these resources."""
    job = SimpleNamespace(resources=resources, threads=threads)
    params = {"run_uuid": "id", "slurm_logfile": "log", "comment_str": "c", "account": "", "partition": "", "workdir": None}
    return get_submit_command(job, params) + set_gres_string(job)


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_one_gpu(fresh: Project):
    resources, threads, command = planned(fresh, {"gpus": 1})
    assert (resources["gpu"], threads) == (1, 8)
    assert not {"nodes", "tasks", "mpi"} & set(resources)
    assert command == "--nodes 1 --processes 1 --threads 8 --"
    line = sbatch(resources, threads)
    assert "--cpus-per-task=8" in line and "--gpus=h100:1" in line and "--nodes" not in line


def test_a_whole_node_is_one_task_that_starts_torchrun(fresh: Project):
    resources, threads, command = planned(fresh, {"gpus": 4})
    assert (resources["gpu"], threads) == (4, 32)
    assert command == "--nodes 1 --processes 4 --threads 32 --"
    line = sbatch(resources, threads)
    assert "--cpus-per-task=32" in line and "--gpus=h100:4" in line and "ntasks-per" not in line


def test_several_nodes_are_a_task_for_each_gpu(fresh: Project):
    """Tasks and GPUs are given per node: Slurm could otherwise split those of the job unevenly, such as 3 and 1.

    The plugin must also not read the number of tasks as tasks per GPU.
    """
    resources, threads, command = planned(fresh, {"gpus": 2, "nodes": 2})
    assert {key: resources.get(key) for key in ("gpu", "nodes", "tasks", "tasks_per_node", "tasks_per_gpu", "mpi", "cpus_per_task")} == {
        "gpu": 4, "nodes": 2, "tasks": None, "tasks_per_node": 2, "tasks_per_gpu": 0, "mpi": "srun", "cpus_per_task": 8,
    }  # fmt: skip
    assert command == f"--nodes 2 --processes 2 --threads {threads} --"
    line = sbatch(resources, threads)
    for option in ("--nodes=2", "--ntasks-per-node=2", "--cpus-per-task=8", "--gpus=h100:4", "--gpus-per-node=h100:2"):
        assert option in line, line
    assert "ntasks-per-gpu" not in line and "--ntasks=" not in line


def test_a_gpu_on_each_of_several_nodes(fresh: Project):
    """The plugin does not accept a `tasks_per_node` of 1."""
    resources, threads, _ = planned(fresh, {"gpus": 1, "nodes": 4})
    line = sbatch(resources, threads)
    for option in ("--nodes=4", "--ntasks=4", "--gpus=h100:4", "--gpus-per-node=h100:1"):
        assert option in line, line
    assert "ntasks-per" not in line


def test_several_nodes_without_gpus(fresh: Project):
    resources, threads, _ = planned(fresh, {"gpus": 0, "processes": 2, "nodes": 2})
    line = sbatch(resources, threads)
    assert "--nodes=2" in line and "--ntasks-per-node=2" in line and "gpus-per-node" not in line


EXECUTION = {
    "device_sequences": 1, "gradient_checkpointing": False, "zero": 2, "loss": "plain", "attention": "eager", "save_steps": 3,
    "log_steps": 2, "heldout_steps": 2, "heldout_bytes": 500, "max_loss_rise": None, "processes": 2,
}  # fmt: skip


def test_how_a_stage_runs_does_not_make_it_run_again(project: Project):
    stages = project.config["recipes"]["short"]["stages"]
    stages[0] |= EXECUTION
    project.write()
    assert project.planned(STAGE) == {}
    stages[0]["publish"] = "best"  # then what is measured decides which weights are published
    project.write()
    assert project.planned(STAGE) == {"train_stage": 1}


@pytest.mark.parametrize(
    "change", [{"train": "new_rows"}, {"document_mask": True}, {"batch_tokens": 256}, {"steps": 7}, {"train": "lora", "lora": {"rank": 2}}]
)  # fmt: skip
def test_what_a_stage_computes_makes_it_run_again(project: Project, change: dict[str, Any]):
    project.config["recipes"]["short"]["stages"][0] |= change
    project.write()
    assert project.planned(STAGE) == {"train_stage": 1}


def test_settings_of_lora_matter_to_lora_alone(project: Project):
    project.config["recipes"]["short"]["stages"][0]["lora"] = {"rank": 2}
    project.write()
    assert project.planned(STAGE) == {}
