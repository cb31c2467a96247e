"""Alignments by all methods from a configuration, and import and export of mappings."""

from __future__ import annotations

import json
import os
import re
import shlex

import pyarrow.parquet as pq
import pytest
from commands.alignment import align_vocabularies, report_alignment
from support.project import Project
from tokalign.alignment.matrix import read_alignment
from tokalign.alignment.methods.registry import METHODS

FOLDER = "results/alignments/tiny/own--new"


def test_every_method_runs_from_a_configuration(project: Project, monkeypatch: pytest.MonkeyPatch):
    """One alignment per method, with random as the fallback, so that each method sees all tokens.

    The planned commands run here in one process, as each would otherwise spend seconds on imports.
    """
    (project.folder / "mapping.json").write_text('{"5": 7}', encoding="utf-8")
    for name in METHODS:
        block = {
            "methods": [name] if name == "random" else [name, "random"],
            "vectors": "glove",
            "imported": {"file": "mapping.json"},
        }
        block |= {method: {"pivots": 20} for method in ("relative", "sparse_codes", "tokalign_paper")}
        project.config["alignments"][f"only-{name}"] = block
    project.write()
    outputs = [f"{FOLDER}/only-{name}/report.json" for name in METHODS]
    assert project.planned(*outputs) == {"align_vocabularies": len(METHODS), "report_alignment": len(METHODS)}
    shown = project.run(*outputs, "-n", "-p").stdout
    monkeypatch.chdir(project.folder)
    for script in (align_vocabularies, report_alignment):
        commands = re.findall(rf'python "\$SCRIPTS"/alignment/{script.__name__.split(".")[-1]}\.py (.*) 2>&1 \|', shown)
        assert len(commands) == len(METHODS)
        for words in map(shlex.split, commands):
            script.main(script.arguments().parse_args(words))
    first = {"relative": "aligned", "vanilla": "aligned", "sparse_codes": "aligned", "tokalign_paper": "aligned"}
    first |= {"permutation": "random", "frequency": "random"}
    for name in METHODS:
        table = pq.read_table(project.folder / FOLDER / f"only-{name}/tokens.parquet").to_pydict()
        assert first.get(name, name) in table["category"], name
        stored = read_alignment(project.folder / FOLDER / f"only-{name}/alignment.safetensors")
        assert stored.matrix.shape[0] == 400
        assert (stored.fill > 0).any() == (name in ("mean", "zero", "normal"))


def test_a_mapping_goes_out_and_comes_in(project: Project):
    """An exported mapping can be imported; the file's content counts, not its time."""
    assert project.planned(f"{FOLDER}/tokalign/align_matrix.json") == {"export_alignment": 1}
    project.run(f"{FOLDER}/tokalign/align_matrix.json")
    text = (project.folder / FOLDER / "tokalign/align_matrix.json").read_text(encoding="utf-8")
    mapping = json.loads(text)
    assert list(mapping) == [str(i) for i in range(400)]
    file = project.folder / "mapping.json"
    file.write_text(json.dumps(mapping | {"17": -1, "18": -1}), encoding="utf-8")
    project.config["alignments"]["copied"] = {"methods": ["imported", "random"], "imported": {"file": "mapping.json"}}
    project.write()
    matrix = f"{FOLDER}/copied/alignment.safetensors"
    project.run(f"{FOLDER}/copied/align_matrix.json")
    copied = json.loads((project.folder / FOLDER / "copied/align_matrix.json").read_text(encoding="utf-8"))
    assert {key for key in mapping if copied[key] != mapping[key]} <= {"17", "18"}
    categories = pq.read_table(project.folder / FOLDER / "copied/tokens.parquet")["category"].to_pylist()
    assert [i for i, category in enumerate(categories) if category != "imported"] == [17, 18]
    os.utime(file)
    assert project.planned(matrix, "--max-checksum-file-size", "1") == {}
    file.write_text(text, encoding="utf-8")
    assert project.planned(matrix) == {"align_vocabularies": 1}


def test_an_entry_out_of_range_stops_with_its_key(project: Project):
    (project.folder / "mapping.json").write_text('{"400": 3}', encoding="utf-8")
    project.config["alignments"]["wrong"] = {"methods": ["imported", "random"], "imported": {"file": "mapping.json"}}
    project.write()
    result = project.run(f"{FOLDER}/wrong/alignment.safetensors", check=False)
    assert result.returncode
    assert "mapping.json: key '400': the target id 400 is not in the target tokenizer" in result.stdout
