"""A study of 400 seeds: long settings reach the commands, although an argument is limited to 128 kB."""

from __future__ import annotations

import json
import shutil

from support.project import Project

SEEDS = 400
LONGEST_ARGUMENT = 131_072
RESULTS = "results/evaluations/heldout/perplexity/adapted/llama--new/tiny/tokalign/short"


def test_preflight_and_plan(project: Project):
    project.config["experiments"][0]["seeds"] = list(range(1, SEEDS + 1))
    project.write()
    output = project.run("preflight").stdout
    assert f"{2 * (SEEDS - 1)} " in output and "preflight: no check fails" in output
    assert project.planned()["train_stage"] == 2 * (SEEDS - 1)


def test_comparison_and_tables(project: Project):
    """The results of the first seed stand in for those of the others."""
    for seed in range(2, SEEDS + 1):
        shutil.copytree(project.folder / RESULTS / "s1", project.folder / RESULTS / f"s{seed}")
        for file in (project.folder / RESULTS / f"s{seed}").glob("*.json"):
            result = json.loads(file.read_text())
            result["labels"]["seed"] = seed
            file.write_text(json.dumps(result))
    project.config["experiments"][0]["seeds"] = list(range(1, SEEDS + 1))
    project.config["evaluations"]["heldout"]["comparison"] = {"resamples": 100}
    project.write()
    target = "results/evaluations/heldout/comparison.json"
    shown = project.run(target, "-n", "-p", "--allowed-rules", "compare_models").stdout
    (command,) = (line for line in shown.splitlines() if "compare_models.py" in line)
    assert len(command) < 1000
    assert (project.folder / command.split("--plan ")[1].split(" ")[0]).stat().st_size > LONGEST_ARGUMENT
    project.run(target, "--allowed-rules", "compare_models")
    made = json.loads((project.folder / target).read_text())
    assert {row["seed"] for row in made["rows"] if row.get("role") == "adapted"} >= set(range(1, SEEDS + 1))
