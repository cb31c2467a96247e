"""What reruns after a change, and what does not: the jobs that a dry run plans, by rule.

The project has one model (llama, tokenizer own, a folder), one target tokenizer (new, trained on the corpus tiny of two
shards), an alignment with vectors (tokalign), a baseline without (random), a recipe of two stages and one evaluation. So a
whole run is: 1 corpus, 2 tokenizers, 1 model, 6 token shards (2 for training and 1 for validation each), counts and vectors
of 2 tokenizers, 2 alignments with reports, 2 initialized models, 1 packing, 2 stages, 1 held-out sample, 5 scored
checkpoints (source, two initialized, two stages), 2 scored tokenizers, tables and figures.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from support.copies import CODE, OwnCode
from support.jobs import ALIGNED_MODEL, SHOWN
from support.project import Project, write_model

ALL_MODELS = {"initialize_model": 2, "train_stage": 2, "evaluate_perplexity": 4}  # and the baseline, initialized

WHOLE = {
    "prepare_corpus": 1,
    "resolve_tokenizer": 1,
    "train_tokenizer": 1,
    "resolve_model": 1,
    "tokenize_shard": 6,
    "count_cooccurrences": 2,
    "train_glove_vectors": 2,
    "align_vocabularies": 2,
    "report_alignment": 2,
    "initialize_model": 2,
    "pack_tokens": 1,
    "train_stage": 2,
    "sample_heldout": 1,
    "evaluate_perplexity": 5,
    "evaluate_tokenizer": 2,
    **SHOWN,
}


def without(jobs: dict[str, int], *rules: str) -> dict[str, int]:
    return {rule: count for rule, count in jobs.items() if rule not in rules}


LARGE = ("--max-checksum-file-size", "1")
"""Snakemake compares the contents of small files by itself; with this the tests' files of some kB are large ones."""


def touch(folder: Path) -> int:
    """Set the time of every file in a folder to after the run, and return the number of files."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in files:
        os.utime(path)
    return len(files)


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_an_empty_folder_plans_everything(tmp_path: Path):
    assert Project(tmp_path / "project").planned() == WHOLE


def test_a_second_run_has_nothing_to_do(project: Project):
    assert project.planned() == {}
    before = {path: path.stat().st_mtime_ns for path in (project.folder / "results").rglob("*")}
    assert "Nothing to be done" in project.run().stdout
    assert {path: path.stat().st_mtime_ns for path in (project.folder / "results").rglob("*")} == before


# ------------------------------------------------------------------------------------------------------------ files


def test_edited_code_plans_nothing(project: Project, tmp_path: Path):
    edited = OwnCode(project, tmp_path / "code")
    scripts = sorted((edited.code / "workflow/scripts").rglob("*.py"))
    assert {"train_stage.py", "training.py", "versions.py"} <= {path.name for path in scripts}
    for path in (*scripts, edited.code / "Snakefile", *(edited.code / "rules").glob("*.smk")):
        append(path, "\n# A comment changes no result.\n")
    for path in (edited.code / "rules").glob("*.smk"):  # and neither do the exact words of a command
        path.write_text(path.read_text(encoding="utf-8").replace(":q}", ":q} "), encoding="utf-8")
    assert edited.planned() == {}


def test_a_raised_version_plans_its_rule_and_what_is_below(project: Project, tmp_path: Path):
    edited = OwnCode(project, tmp_path / "code")
    versions = edited.code / "workflow/scripts/tokalign/common/versions.py"
    text, count = re.subn(r'"glove": (\d+)', lambda found: f'"glove": {int(found[1]) + 1}', versions.read_text(encoding="utf-8"))
    assert count == 1
    versions.write_text(text, encoding="utf-8")
    assert edited.planned() == {
        "train_glove_vectors": 2,
        "align_vocabularies": 1,
        "report_alignment": 1,
        **ALIGNED_MODEL,
        **SHOWN,
    }


def test_new_text_plans_the_corpus_and_what_is_below(project: Project):
    lines = (project.folder / "corpus/en.jsonl").read_text(encoding="utf-8").splitlines()[:5]
    shard = "".join(json.dumps({"text": json.loads(line)["text"] + " more."}) + "\n" for line in lines)
    (project.folder / "corpus/en-2.jsonl").write_text(shard, encoding="utf-8")
    assert project.planned() == without(WHOLE, "resolve_tokenizer", "resolve_model")


def test_changed_text_of_equal_size_and_time_of_old_files_plans_the_corpus(project: Project):
    """An old file that replaces another (mv, rsync -t) is not newer than the results."""
    path = project.folder / "corpus/de.jsonl"
    old = path.stat()
    text = path.read_text(encoding="utf-8")
    path.with_name("other").write_text(text.replace("modell", "llemod"), encoding="utf-8")
    os.replace(path.with_name("other"), path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    assert project.planned() == without(WHOLE, "resolve_tokenizer", "resolve_model")


def test_touched_inputs_plan_nothing(project: Project):
    assert [touch(project.folder / name) for name in ("corpus", "model", "tokenizer")] == [3, 3, 2]
    assert project.planned(*LARGE) == {}


def test_git_checkout_of_another_branch_and_back_plans_nothing(project: Project, tmp_path: Path):
    """Inputs, configuration and the workflow itself are in a repository, and differ on another branch."""
    in_git = OwnCode(project, project.folder)
    in_git.write()
    inputs = [project.folder / name for name in ("corpus", "model", "tokenizer", "config.yaml", *CODE)]
    environment = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(tmp_path)}

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=project.folder, env=os.environ | environment, check=True, capture_output=True
        )

    git("init", "--initial-branch", "main")
    git("add", *(path.name for path in inputs))
    git("commit", "-m", "inputs")
    git("checkout", "-b", "other")
    started = time.time_ns()
    files = [file for path in inputs for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    for path in files:
        append(path, "\n")
    git("commit", "-a", "-m", "every file is another")
    git("checkout", "main")
    assert min(file.stat().st_mtime_ns for file in files) > started - 10**9  # git wrote them anew
    assert in_git.planned(*LARGE) == {}


def test_other_weights_plan_the_model_and_what_is_below(project: Project):
    write_model(project.folder / "model", rows=328, seed=1)
    assert project.planned() == {"resolve_model": 1, **ALL_MODELS, "evaluate_perplexity": 5, **SHOWN}


def test_another_source_tokenizer_leaves_the_target_side_alone(project: Project):
    """Tokens, vectors and packed blocks of the target side stay."""
    path = project.folder / "tokenizer/tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 512}))
    assert project.planned() == {
        "resolve_tokenizer": 1,
        "resolve_model": 1,
        "tokenize_shard": 3,
        "count_cooccurrences": 1,
        "train_glove_vectors": 1,
        "align_vocabularies": 2,
        "report_alignment": 2,
        **ALL_MODELS,
        "evaluate_perplexity": 5,
        "evaluate_tokenizer": 1,
        **SHOWN,
    }


# ---------------------------------------------------------------------------------------------------- configuration


def stage(config: dict, index: int) -> dict:
    return config["recipes"]["short"]["stages"][index]


def second_stage_learning_rate(config: dict) -> None:
    stage(config, 1)["learning_rate"] = 0.00004


def more_first_steps(config: dict) -> None:
    stage(config, 0)["steps"] = 7


def saved_and_logged_more_rarely(config: dict) -> None:
    stage(config, 1)["save_steps"] = stage(config, 1)["log_steps"] = 3


def counted_in_less_memory(config: dict) -> None:
    config["vectors"]["glove"]["count"]["memory_gb"] = 1


def on_a_gpu(config: dict) -> None:
    for index in (0, 1):
        stage(config, index)["gpus"] = 1
    config["evaluations"]["heldout"]["gpus"] = 1


def longer_blocks(config: dict) -> None:
    config["recipes"]["short"]["block"] = 64


def second_target_tokenizer(config: dict) -> None:
    config["tokenizers"]["small"] = copy.deepcopy(config["tokenizers"]["new"])
    config["tokenizers"]["small"]["source"]["train"]["vocabulary_size"] = 380
    config["experiments"][0]["tokenizer"] = ["new", "small"]


def second_seed(config: dict) -> None:
    config["experiments"][0]["seeds"] = [1, 2]


def more_pivots(config: dict) -> None:
    config["alignments"]["tokalign"]["relative"]["pivots"] = 21


def rows_of_another_length(config: dict) -> None:
    config["alignments"]["tokalign"]["initialization"] = {"norm_matching": "mean"}


def padded_rows(config: dict) -> None:
    config["alignments"]["tokalign"]["initialization"] = {"pad_to_multiple_of": 64}


def written_out_initialization(config: dict) -> None:
    config["alignments"]["tokalign"]["initialization"] = {"untie": False, "ablation": {"kind": "none"}}


def corrected_for_hubness(config: dict) -> None:
    config["alignments"]["tokalign"]["relative"]["hubness"] = "csls"


def settings_of_methods_that_are_not_in_the_list(config: dict) -> None:
    config["alignments"]["tokalign"] |= {"vanilla": {"top_k": 3}, "mined": {"min_similarity": 0.5}, "imported": {"file": "none"}}


def another_floor(config: dict) -> None:
    config["alignments"]["random"]["methods"] = ["permutation"]


def trained_from_the_baseline(config: dict) -> None:
    config["experiments"][0]["alignment"] = ["tokalign", "random"]


def longer_vectors(config: dict) -> None:
    config["vectors"]["glove"]["glove"]["dimensions"] = 17


def narrower_window(config: dict) -> None:
    config["vectors"]["glove"]["count"]["window"] = 10


def shorter_stride(config: dict) -> None:
    config["evaluations"]["heldout"]["perplexity"]["stride"] = 16


def another_criterion(config: dict) -> None:
    criterion = {"name": "kept", "suite": "perplexity", "metric": "bits_per_byte", "relative_loss": 100}
    config["evaluations"]["heldout"]["comparison"] = {"criteria": [criterion]}


def larger_sample(config: dict) -> None:
    config["evaluations"]["heldout"]["sample"]["bytes_per_group"] = 2500


def blocks_that_nothing_uses(config: dict) -> None:
    for section, name in (("vectors", "glove"), ("alignments", "random"), ("recipes", "short"), ("evaluations", "heldout")):
        config[section]["other"] = copy.deepcopy(config[section][name])


def written_out_default(config: dict) -> None:
    config["corpora"]["tiny"]["seed"] = 1
    stage(config, 1)["weight_decay"] = 0.01


def reverse_keys(value):
    """Return a copy with the keys of every block in reverse order; lists keep their order."""
    if isinstance(value, dict):
        return {key: reverse_keys(value[key]) for key in reversed(value)}
    return [reverse_keys(item) for item in value] if isinstance(value, list) else value


def another_order_of_keys(config: dict) -> None:
    turned = reverse_keys(config)
    config.clear()
    config.update(turned)


TRAINED_AGAIN = {"train_stage": 2, "evaluate_perplexity": 2, **SHOWN}
LAST_STAGE_AGAIN = {"train_stage": 1, "evaluate_perplexity": 1, **SHOWN}
SETTINGS = {
    another_order_of_keys: {},
    blocks_that_nothing_uses: {},
    written_out_default: {},
    on_a_gpu: {},
    saved_and_logged_more_rarely: {},
    counted_in_less_memory: {},
    second_stage_learning_rate: LAST_STAGE_AGAIN,
    more_first_steps: TRAINED_AGAIN,
    longer_blocks: {"pack_tokens": 1, **TRAINED_AGAIN},
    second_seed: TRAINED_AGAIN,
    trained_from_the_baseline: TRAINED_AGAIN,
    rows_of_another_length: {**ALIGNED_MODEL, **SHOWN},
    padded_rows: {**ALIGNED_MODEL, **SHOWN},
    written_out_initialization: {},
    more_pivots: {"align_vocabularies": 1, "report_alignment": 1, **ALIGNED_MODEL, **SHOWN},
    corrected_for_hubness: {"align_vocabularies": 1, "report_alignment": 1, **ALIGNED_MODEL, **SHOWN},
    settings_of_methods_that_are_not_in_the_list: {},
    another_floor: {
        "align_vocabularies": 1,
        "report_alignment": 1,
        "initialize_model": 1,
        "evaluate_perplexity": 1,
        **SHOWN,
    },
    longer_vectors: {"train_glove_vectors": 2, "align_vocabularies": 1, "report_alignment": 1, **ALIGNED_MODEL, **SHOWN},
    narrower_window: {
        "count_cooccurrences": 2,
        "train_glove_vectors": 2,
        "align_vocabularies": 1,
        "report_alignment": 1,
        **ALIGNED_MODEL,
        **SHOWN,
    },
    shorter_stride: {"evaluate_perplexity": 5, **SHOWN},
    another_criterion: SHOWN,
    larger_sample: {"sample_heldout": 1, "evaluate_perplexity": 5, **SHOWN},
    second_target_tokenizer: {
        "train_tokenizer": 1,
        "tokenize_shard": 3,
        "count_cooccurrences": 1,
        "train_glove_vectors": 1,
        "align_vocabularies": 2,
        "report_alignment": 2,
        "pack_tokens": 1,
        **ALL_MODELS,
        "evaluate_tokenizer": 1,
        **SHOWN,
    },
}


@pytest.mark.parametrize("change", SETTINGS, ids=lambda change: change.__name__)
def test_a_changed_setting_plans_what_depends_on_it(project: Project, change):
    change(project.config)
    project.write()
    assert project.planned() == SETTINGS[change]


def test_a_second_model_shares_all_that_depends_on_tokenizers_alone(project: Project):
    write_model(project.folder / "other-model", rows=328, seed=1)
    project.config["models"]["other"] = {"source": {"folder": "other-model"}, "tokenizer": "own"}
    project.config["experiments"][0]["model"] = ["llama", "other"]
    project.write()
    assert project.planned() == {"resolve_model": 1, **ALL_MODELS, "evaluate_perplexity": 5, **SHOWN}
