"""What preflight is told: the dry run of the typed command, and the files of all corpora."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
from plan.evaluations import Evaluations
from plan.preflight import dry_run_command, planned_files
from plan.resources import Jobs, Profile
from plan.study import Study
from support.project import CONFIG
from tokalign.config.validation import validate


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        (["preflight", "-q", "rules", "host", "--profile", "p"], ["--profile", "p"]),
        (["--quiet", "preflight", "aligned"], ["aligned"]),
        (["preflight", "--quiet=all", "--forceall"], ["--forceall"]),
    ],
)
def test_the_dry_run_has_its_own_quiet(typed, left):
    command = dry_run_command(typed, "preflight")
    assert command[command.index("--cores") + 2 :] == left


def test_corpora_that_are_mixed_in_or_train_the_tokenizer_need_disk():
    config = copy.deepcopy(CONFIG)
    for name in ("general", "words"):
        web = {"hub": "owner/name", "revision": "main", "language": "en", "max_bytes": 4000}
        config["corpora"][name] = {"sources": {"web": web}}
    config["recipes"]["short"]["stages"][1]["mixture"] = {"corpus": "general", "share": 0.5}
    config["tokenizers"]["new"]["source"]["train"]["corpus"] = "words"
    study = Study(validate(config))
    profile = Profile(SimpleNamespace(overwrite_resources={}, overwrite_threads={}, default_resources={}))
    sizes = {file["path"]: file.get("bytes") for file in planned_files(study, Jobs(study, Evaluations(study), profile))}
    for name in ("general", "words"):
        assert sizes[f"results/fetched/datasets/{name}/web"] == sizes[f"results/corpora/{name}"] == 2000  # compressed to half
    assert sizes["results/tokens/general/new"] == sizes["results/packed/general/new/32"] == 4000  # 1,000 tokens of 4 bytes
