"""Names of tasks in YAML files, read without lm-evaluation-harness."""

from __future__ import annotations

import pytest
from tokalign.errors import InputError
from tokalign.task_files import task_names


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
