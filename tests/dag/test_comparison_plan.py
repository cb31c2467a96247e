"""Inputs of an evaluation's comparison: every result with its role, and the source model's result if there is one."""

from __future__ import annotations

import json
from pathlib import Path

from support.project import Project, write_model

TOKENIZERS = "results/evaluations/heldout/tokenizers"


def plan(project: Project) -> list[dict]:
    """Return the entries that a dry run would compare."""
    project.write()
    shown = project.run("results/evaluations/heldout/comparison.json", "-n", "--printshellcmds").stdout
    (line,) = {line for line in shown.splitlines() if "compare_models.py" in line}
    return json.loads((project.folder / line.split("--plan ")[1].split(" ")[0]).read_text())["entries"]


def test_a_tokenizer_is_compared_with_those_of_all_models_that_get_it(tmp_path: Path):
    """The tokenizer `new` replaces that of two models, and is the source tokenizer of a third."""
    project = Project(tmp_path / "project")
    for name in ("other", "third"):
        write_model(tmp_path / "project" / name, rows=400, seed=1)
    (tmp_path / "project/second").mkdir()
    for file in (tmp_path / "project/tokenizer").iterdir():
        (tmp_path / "project/second" / file.name).write_bytes(file.read_bytes())
    config = project.config
    config["tokenizers"]["second"] = {"source": {"folder": "second"}}
    config["models"] |= {
        "other": {"source": {"folder": "other"}, "tokenizer": "second"},
        "third": {"source": {"folder": "third"}, "tokenizer": "new"},
    }
    (first,) = config["experiments"]
    config["experiments"] = [
        {**first, "name": "last", "model": "third", "tokenizer": "own"},
        {**first, "model": ["llama", "other"]},
    ]
    entries = plan(project)
    compared = {
        (Path(entry["path"]).stem, Path(entry["baseline"]).stem if entry["baseline"] else None)
        for entry in entries
        if entry["role"] == "tokenizer"
    }
    assert compared == {("own", "new"), ("new", "own"), ("new", "second"), ("second", None)}
    models = {entry["path"]: entry["baseline"] for entry in entries if entry["role"] in ("adapted", "initialized")}
    for path, baseline in models.items():
        assert baseline == f"results/evaluations/heldout/perplexity/models/{path.split('/')[5].split('--')[0]}/hf.json"
