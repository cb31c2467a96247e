"""Input that cannot be used ends in one message that says where, what and how to mend it, and leaves nothing behind."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.copies import copy_project
from support.disks import small_disk
from support.project import ROOT, Project
from tokalign.common.arrays import write_tensors
from tokalign.config.validation import validate

SCRIPTS = ROOT / "workflow/scripts/commands"


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Project(tmp_path_factory.mktemp("inputs") / "project").folder


@pytest.fixture
def project(inputs: Path, tmp_path: Path) -> Project:
    return copy_project(inputs, tmp_path / "project")


def command(project: Project, script: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a script of the workflow in the project's folder; dictionaries are given as JSON, lists as several values."""
    (file,) = SCRIPTS.glob(f"*/{script}.py")
    words = [sys.executable, str(file)]
    for name, value in options.items():
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else str(value)]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(words, cwd=project.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def filled(project: Project) -> dict[str, Any]:
    """Return the project's configuration with all defaults."""
    return validate(project.config)


def prepare_corpus(project: Project, text: str = "results/corpora/tiny/text") -> subprocess.CompletedProcess[str]:
    settings = filled(project)["corpora"]["tiny"]
    return command(project, "prepare_corpus", settings=settings, text=text, manifest="results/corpora/tiny/manifest.json")


def resolve_tokenizer(project: Project, folder: str, out: str) -> subprocess.CompletedProcess[str]:
    settings = {"source": {"folder": folder}, "special_tokens": {}, "trust_remote_code": False}
    paths = {"hf": f"{out}/hf", "vocabulary": f"{out}/vocabulary.parquet", "info": f"{out}/info.json"}
    return command(project, "resolve_tokenizer", settings=settings, **paths)


def left(project: Project) -> list[str]:
    """Return the files below results/."""
    folder = project.folder / "results"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def assert_full_disk(project: Project, result: subprocess.CompletedProcess[str]) -> None:
    """Check that a command says that the disk under results/ is full (whatever room there is elsewhere), and leaves nothing."""
    room = f"found:    0 MB free on the file system of {project.folder}/results/"
    assert_refused(result, "error: the disk is full", room, "to mend:  free space there")
    assert left(project) == []


def assert_refused(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Check that a command ended in an error of its own that has these parts, and not in a traceback."""
    assert result.returncode == 1, result.stdout
    assert "Traceback" not in result.stdout, result.stdout
    assert [part for part in parts if part not in result.stdout] == [], result.stdout


# ---------------------------------------------------------------------------------------------------- configuration


def unknown_key(config: dict) -> tuple[str, ...]:
    config["vectors"]["glove"]["glove"]["dimension"] = 16
    return "vectors.glove.glove.dimension: unknown key", "to mend:  did you mean 'dimensions'?"


def unknown_block(config: dict) -> tuple[str, ...]:
    config["experiments"][0]["recipe"] = "shrot"
    return "experiments[0].recipe: no block of this name under recipes", "found:    'shrot'", "did you mean 'short'?"


def wrong_type(config: dict) -> tuple[str, ...]:
    config["recipes"]["short"]["stages"][1]["learning_rate"] = "1e-4"
    where = "recipes.short.stages[1].learning_rate: wrong type"
    return where, "found:    '1e-4' (a text)", "expected: a number", "to mend:  write the number without quotes"


def missing_file(config: dict) -> tuple[str, ...]:
    config["corpora"]["tiny"]["sources"]["ru"]["files"] = ["corpus/ru.json"]
    return "corpora.tiny.sources.ru.files: no such file", "found:    corpus/ru.json", "did you mean corpus/ru.jsonl?"


def pattern_without_files(config: dict) -> tuple[str, ...]:
    config["corpora"]["tiny"]["sources"]["ru"]["files"] = ["corpus/uk*.jsonl"]
    return "corpora.tiny.sources.ru.files: no such file", "found:    corpus/uk*.jsonl", "to mend:"


def missing_folder(config: dict) -> tuple[str, ...]:
    config["models"]["llama"]["source"]["folder"] = "modell"
    return "models.llama.source.folder: no such folder", "found:    modell", "to mend:  correct the path"


def own_tokenizer(config: dict) -> tuple[str, ...]:
    config["experiments"][0]["tokenizer"] = "own"
    return "experiments[0].tokenizer: 'own' is the tokenizer that model 'llama' already has", "to mend:  name the new tokenizer"


def own_tokenizer_by_another_name(config: dict) -> tuple[str, ...]:
    config["tokenizers"]["same"] = {"source": {"folder": "tokenizer"}}
    config["experiments"][0]["tokenizer"] = "same"
    return "experiments[0].tokenizer: 'same' is the tokenizer that model 'llama' already has", "to mend:  name the new tokenizer"


CONFIGURATIONS = [
    unknown_key,
    unknown_block,
    wrong_type,
    missing_file,
    pattern_without_files,
    missing_folder,
    own_tokenizer,
    own_tokenizer_by_another_name,
]


@pytest.mark.parametrize("break_it", CONFIGURATIONS, ids=lambda function: function.__name__)
def test_configuration(project: Project, break_it: Callable[[dict], tuple[str, ...]]):
    parts = break_it(project.config)
    project.write()
    assert_refused(project.run(check=False), "the configuration cannot be used:", *parts)
    assert not (project.folder / "results").exists()


# ------------------------------------------------------------------------------------------------------------- text


def lines_of(project: Project) -> list[str]:
    return (project.folder / "corpus/de.jsonl").read_text(encoding="utf-8").splitlines(True)


def no_documents(project: Project) -> tuple[str, ...]:
    (project.folder / "corpus/de.jsonl").write_text("\n")
    return "source 'de': an empty corpus", "no usable document in 1 file", "to mend:  check corpus/de.jsonl"


def only_white_space(project: Project) -> tuple[str, ...]:
    (project.folder / "corpus/de.jsonl").write_text('{"text": " "}\n{"text": "\\n"}\n')
    return "source 'de': an empty corpus", "{'empty': 2} dropped", "to mend:  check corpus/de.jsonl"


def no_json(project: Project) -> tuple[str, ...]:
    lines = lines_of(project)
    lines[6] = '{"text": "unfinished\n'
    (project.folder / "corpus/de.jsonl").write_text("".join(lines), encoding="utf-8")
    return "corpus/de.jsonl line 7: not JSON", "unfinished", "to mend:  correct or remove the line"


def no_text(project: Project) -> tuple[str, ...]:
    lines = lines_of(project)
    lines[2] = '{"content": "a text", "id": 3}\n'
    (project.folder / "corpus/de.jsonl").write_text("".join(lines), encoding="utf-8")
    return "corpus/de.jsonl line 3: a document without text", "the fields 'content', 'id'", "to mend:  set `text_field`"


def cut_gzip(project: Project) -> tuple[str, ...]:
    packed = gzip.compress("".join(lines_of(project)).encode())
    (project.folder / "corpus/de.jsonl").unlink()
    (project.folder / "corpus/de.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    project.config["corpora"]["tiny"]["sources"]["de"]["files"] = ["corpus/de.jsonl.gz"]
    return (
        "corpus/de.jsonl.gz: the compressed file is truncated or damaged after line",
        "to mend:  copy or download the file again",
    )


def latin_1(project: Project) -> tuple[str, ...]:
    lines = [line.encode() for line in lines_of(project)]
    lines[4] = '{"text": "Größe"}\n'.encode("latin-1")
    (project.folder / "corpus/de.jsonl").write_bytes(b"".join(lines))
    return "corpus/de.jsonl line 5: not UTF-8", "to mend:  convert the file"


TEXTS = [no_documents, only_white_space, no_json, no_text, cut_gzip, latin_1]


@pytest.mark.parametrize("break_it", TEXTS, ids=lambda function: function.__name__)
def test_text(project: Project, break_it: Callable[[Project], tuple[str, ...]]):
    parts = break_it(project)
    assert_refused(prepare_corpus(project), *parts)
    assert left(project) == []


def test_text_through_the_workflow(project: Project):
    """The message reaches whoever started snakemake, and names the log."""
    parts = no_json(project)
    result = project.run("results/corpora/tiny/manifest.json", check=False)
    assert_refused(result, *parts, "logs/prepare_corpus/tiny.log")
    assert parts[0] in (project.folder / "logs/prepare_corpus/tiny.log").read_text(encoding="utf-8")
    assert left(project) == []


# ---------------------------------------------------------------------------------------------- tokenizers and models


def test_tokenizer_without_end_of_text(project: Project):
    path = project.folder / "tokenizer/tokenizer_config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("eos_token") == "<eos>"
    path.write_text(json.dumps(settings))
    result = resolve_tokenizer(project, "tokenizer", "results/tokenizers/own")
    assert_refused(
        result, "tokenizer tokenizer: no end-of-text token", "expected: a token with the role eos", "special_tokens: {eos:"
    )
    assert left(project) == []


def test_copy_of_the_source_tokenizer_under_another_path(project: Project):
    """Only the contents tell that the two are one vocabulary."""
    shutil.copytree(project.folder / "tokenizer", project.folder / "copy")
    for folder, name in (("tokenizer", "own"), ("copy", "same")):
        resolved = resolve_tokenizer(project, folder, f"results/tokenizers/{name}")
        assert resolved.returncode == 0, resolved.stdout
    before = left(project)
    out = "results/alignments/tiny/own--same/random"
    result = command(
        project,
        "align_vocabularies",
        source_tokenizer="results/tokenizers/own/hf",
        source_vocabulary="results/tokenizers/own/vocabulary.parquet",
        target_tokenizer="results/tokenizers/same/hf",
        target_vocabulary="results/tokenizers/same/vocabulary.parquet",
        settings={"methods": ["random"], "seed": 1},
        threads=1,
        matrix=f"{out}/alignment.safetensors",
        table=f"{out}/tokens.parquet",
    )
    size = len(pq.read_table(project.folder / "results/tokenizers/own/vocabulary.parquet"))
    found = f"found:    the same {size} tokens with the same ids"
    assert_refused(result, "results/tokenizers/same/hf: the new tokenizer has the vocabulary", found, "to mend:  name another")
    assert left(project) == before


def without_weights(folder: Path) -> tuple[str, ...]:
    (folder / "model.safetensors").unlink()
    return "model: no weights", "expected: model.safetensors", "to mend:  add them"


def pickled_weights(folder: Path) -> tuple[str, ...]:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return "model: weights are read from safetensors only", "found:    pytorch_model.bin", "to mend:  convert it"


def cut_weights(folder: Path) -> tuple[str, ...]:
    path = folder / "model.safetensors"
    size = path.stat().st_size
    os.truncate(path, size - 4)
    return f"found:    {size - 4} bytes", f"expected: {size} bytes", "model.safetensors: the file does not have its full length"


def without_configuration(folder: Path) -> tuple[str, ...]:
    (folder / "config.json").unlink()
    return "model: no config.json", "to mend:  give the folder that holds config.json"


@pytest.mark.parametrize(
    "break_it", [without_weights, pickled_weights, cut_weights, without_configuration], ids=lambda function: function.__name__
)
def test_model(project: Project, break_it: Callable[[Path], tuple[str, ...]]):
    parts = break_it(project.folder / "model")
    (project.folder / "info.json").write_text('{"size": 320}')
    settings = {"source": {"folder": "model"}, "trust_remote_code": False, "license": "unknown"}
    paths = {"tokenizer_info": "info.json", "hf": "results/models/llama/hf", "info": "results/models/llama/info.json"}
    assert_refused(command(project, "resolve_model", settings=settings, **paths), *parts)
    assert left(project) == []


# -------------------------------------------------------------------------------------------------------- full disks


def test_full_disk_under_the_corpus(project: Project):
    with small_disk(project.folder / "results", "48k") as resize:
        assert_full_disk(project, prepare_corpus(project))
        resize("16m")
        again = prepare_corpus(project)
        assert again.returncode == 0, again.stdout
        names = ["manifest.json", *(f"text/{shard}.parquet" for shard in ("train-00000", "train-00001", "validation"))]
        assert left(project) == [f"corpora/tiny/{name}" for name in names]
        rows = sum(pq.read_metadata(path).num_rows for path in (project.folder / "results").rglob("*.parquet"))
        assert rows == 3 * 240  # all documents; none is there twice


def test_full_disk_under_a_token_shard(project: Project):
    assert prepare_corpus(project, text="text").returncode == 0

    def tokenize() -> subprocess.CompletedProcess[str]:
        paths = {
            "text": "text/train-00000.parquet",
            "tokenizer": "tokenizer",
            "output": "results/tokens/tiny/own/train-00000.arrow",
        }
        return command(project, "tokenize_shard", **paths)

    with small_disk(project.folder / "results", "48k") as resize:
        assert_full_disk(project, tokenize())
        resize("16m")
        again = tokenize()
        assert again.returncode == 0, again.stdout
        assert left(project) == ["tokens/tiny/own/train-00000.arrow"]


def test_full_disk_under_a_model(project: Project):
    """Under the weights, which are written part by part."""
    assert resolve_tokenizer(project, "tokenizer", "tokenizers/own").returncode == 0
    size = json.loads((project.folder / "tokenizers/own/info.json").read_text())["size"]
    identity = {
        "indptr": np.arange(size + 1, dtype=np.int64),
        "indices": np.arange(size, dtype=np.int32),
        "data": np.ones(size, dtype=np.float32),
        "fill": np.zeros(size, dtype=np.int8),
        "ordinary": np.ones(size, dtype=bool),
    }
    write_tensors(project.folder / "alignment.safetensors", identity, {"shape": [size, size], "seed": 1})
    settings = filled(project)["alignments"]["random"]["initialization"]

    def initialize() -> subprocess.CompletedProcess[str]:
        return command(
            project,
            "initialize_model",
            model="model",
            alignment="alignment.safetensors",
            tokenizer="tokenizers/own/hf",
            tokenizer_info="tokenizers/own/info.json",
            settings=settings | {"trust_remote_code": False},
            output="results/initialized/one",
        )

    with small_disk(project.folder / "results", "64k") as resize:
        assert_full_disk(project, initialize())
        resize("16m")
        again = initialize()
        assert again.returncode == 0, again.stdout
        assert "initialized/one/model.safetensors" in left(project)
