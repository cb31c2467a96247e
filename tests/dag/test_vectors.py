"""The three methods for vectors: what each reads, and what makes it rerun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.copies import copy_project
from support.project import ROOT, Project
from tokalign.vectors.vectors import read_vectors

RETRAINED = {"align_vocabularies": 1, "report_alignment": 1}
ALIGNED = "results/alignments/tiny/own--new/tokalign/report.json"


def target(tokenizer: str, block: str) -> str:
    return f"results/vectors/tiny/{tokenizer}/{block}/vectors.safetensors"


@pytest.fixture(scope="session")
def trained_by_fasttext(once, finished: Path) -> Path:
    """Add fastText vectors of the tokenizer `own` to the finished project."""

    def train(folder: Path) -> None:
        project = copy_project(finished, folder)
        settings = {"dimensions": 12, "epochs": 1, "min_count": 1}
        project.config["vectors"]["fast"] = {"method": "fasttext", "fasttext": settings}
        project.write()
        assert project.planned(target("own", "fast")) == {"train_fasttext_vectors": 1}
        project.run(target("own", "fast"))

    return once("fasttext", train)


@pytest.fixture
def fasttext(trained_by_fasttext: Path, tmp_path: Path) -> Project:
    return copy_project(trained_by_fasttext, tmp_path / "project")


def test_fasttext_makes_the_same_file_and_reads_no_counts(fasttext: Project):
    vectors, glove = (read_vectors(fasttext.folder / target("own", block)) for block in ("fast", "glove"))
    assert vectors.vectors.shape == (len(glove.token_ids), 12)
    assert (vectors.token_ids.tolist(), vectors.counts.tolist()) == (glove.token_ids.tolist(), glove.counts.tolist())
    assert not (fasttext.folder / "results/vectors/tiny/own/fast/cooccurrences.safetensors").exists()


def test_other_methods_settings_leave_fasttext_alone(fasttext: Project):
    fasttext.config["vectors"]["fast"] |= {"glove": {"dimensions": 7}, "count": {"window": 3, "min_count": 9}}
    fasttext.write()
    assert fasttext.planned(target("own", "fast")) == {}
    fasttext.config["vectors"]["fast"]["fasttext"]["window"] = 4
    fasttext.write()
    assert fasttext.planned(target("own", "fast")) == {"train_fasttext_vectors": 1}


def test_fasttext_settings_leave_glove_alone(project: Project):
    project.config["vectors"]["glove"] |= {"method": "glove", "fasttext": {"epochs": 9}}
    project.write()
    assert project.planned(ALIGNED) == {}


def test_another_method_in_the_same_block_plans_what_depends_on_it(project: Project):
    project.config["vectors"]["glove"]["method"] = "fasttext"
    project.write()
    assert project.planned(ALIGNED) == {"train_fasttext_vectors": 2, **RETRAINED}


@pytest.fixture(scope="session")
def with_text_files(once, finished: Path) -> Path:
    """Add the vectors as text files to the finished project, and a block that imports them."""

    def export(folder: Path) -> None:
        project = copy_project(finished, folder)
        script = ROOT / "workflow/scripts/commands/vectors/convert_vectors.py"
        for tokenizer in ("own", "new"):
            words = ["export", "--vectors", target(tokenizer, "glove"), "--text", f"{tokenizer}.txt", "--unk"]
            subprocess.run([sys.executable, str(script), *words], cwd=project.folder, check=True, capture_output=True)
        files = {tokenizer: f"{tokenizer}.txt" for tokenizer in ("own", "new")}
        project.config["vectors"]["published"] = {"method": "imported", "imported": {"files": files}}
        project.write()

    return once("with-text-files", export)


@pytest.fixture
def imported(with_text_files: Path, tmp_path: Path) -> Project:
    return copy_project(with_text_files, tmp_path / "project")


def test_imported_vectors_and_their_counts_are_those_that_were_exported(imported: Project):
    """A change of the file's content reruns the import; its time and settings of other methods do not."""
    paths = [target(tokenizer, "published") for tokenizer in ("own", "new")]
    assert imported.planned(*paths) == {"import_vectors": 2}
    imported.run(*paths)
    for tokenizer in ("own", "new"):
        first, again = (read_vectors(imported.folder / target(tokenizer, block)) for block in ("glove", "published"))
        for name in ("vectors", "token_ids", "counts"):
            np.testing.assert_array_equal(getattr(again, name), getattr(first, name), strict=True)
    assert imported.planned(*paths) == {}
    file = imported.folder / "own.txt"
    os.utime(file)
    imported.config["vectors"]["published"] |= {"glove": {"dimensions": 7}, "count": {"window": 3}}
    imported.write()
    assert imported.planned(*paths, "--max-checksum-file-size", "1") == {}
    before = file.stat()
    lines = file.read_text().splitlines(True)
    file.write_text("".join([*lines[1:], lines[0]]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns - 10**12))
    assert imported.planned(*paths) == {"import_vectors": 1}


def test_an_alignment_takes_imported_vectors(imported: Project):
    imported.config["alignments"]["tokalign"]["vectors"] = "published"
    imported.write()
    assert imported.planned(ALIGNED) == {"import_vectors": 2, **RETRAINED}


def test_an_alignment_without_a_file_for_a_tokenizer_is_refused(imported: Project):
    """Otherwise Snakemake would keep the old alignment, since an existing file need not be made."""
    imported.config["alignments"]["tokalign"]["vectors"] = "published"
    del imported.config["vectors"]["published"]["imported"]["files"]["new"]
    imported.write()
    result = imported.run("-n", check=False)
    assert result.returncode != 0
    assert "vectors.published.imported.files.new: missing key" in result.stdout


def test_a_wrong_line_is_named_by_the_workflow(imported: Project):
    path: Path = imported.folder / "own.txt"
    text = path.read_text().splitlines(True)
    text[4] = text[4].replace(" ", " nan ", 1)
    path.write_text("".join(text))
    result = imported.run(target("own", "published"), check=False)
    assert "convert_vectors: error: own.txt line 5: not finite" in result.stdout
    assert not (imported.folder / target("own", "published")).exists()


def test_record_beside_the_vectors(fasttext: Project):
    """The record has GloVe's objective per iteration; the fastText library reports none."""
    folder = fasttext.folder / "results/vectors/tiny/own"
    glove, fast = (json.loads((folder / block / "objective.json").read_text()) for block in ("glove", "fast"))
    assert (glove["method"], len(glove["objective"])) == ("glove", 3)
    assert (fast["method"], fast["objective"]) == ("fasttext", None)
