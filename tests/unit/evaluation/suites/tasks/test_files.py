"""Names of tasks in YAML files, read without lm-evaluation-harness."""

from __future__ import annotations

import pytest
from tokalign.common.errors import InputError
from tokalign.evaluation.suites.tasks.files import data_files, task_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("task: one\noutput_type: multiple_choice\n", ["one"]),
        ("task: coded\ndoc_to_text: !function utils.text\n", ["coded"]),  # code beside it is not run
        ("group: both\ntask: [one, two]\n", ["both"]),  # the members are names of others
        ("group: tagged\ntask: one\n", ["one", "tagged"]),
        ("dataset_path: json\n", []),  # only to be included
        ("- a list\n", []),
        ("", []),
    ],
)
def test_names(tmp_path, text, names):
    (tmp_path / "task.yaml").write_text(text)
    assert task_names(tmp_path / "task.yaml") == names


@pytest.mark.parametrize("content", [b"task: [one\n", b"task: \xff\n"])
def test_damage_is_named(tmp_path, content):
    (tmp_path / "task.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"task\.yaml: not a YAML file"):
        task_names(tmp_path / "task.yaml")


def test_data_files_are_found_beside_the_file_and_in_the_working_folder(tmp_path, monkeypatch):
    """Data that lie elsewhere count as those beside the task do, or a task would be answered from old ones."""
    monkeypatch.chdir(tmp_path)
    for name in ("tasks/near.jsonl", "data/far.jsonl", "data/part-1.jsonl", "data/part-2.jsonl", "other/x.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    files = (
        "{test: near.jsonl, train: [data/far.jsonl, '../data/part-*.jsonl', missing.jsonl], dev: " + f"{tmp_path}/other/x.jsonl}}"
    )
    (tmp_path / "tasks/t.yaml").write_text(f"task: t\ndataset_kwargs: {{data_files: {files}}}\n")
    assert {path.name for path in data_files("tasks/t.yaml")} == {
        "near.jsonl", "far.jsonl", "part-1.jsonl", "part-2.jsonl", "x.jsonl",
    }  # fmt: skip
    (tmp_path / "tasks/none.yaml").write_text("task: t\n")
    assert data_files("tasks/none.yaml") == []
