"""Tasks of lm-evaluation-harness: which tasks a name means, where their data are, and how to fetch the data beforehand.

Names are resolved by the harness' index of YAML files, without data and without network.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
import yaml
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HfHubHTTPError
from jinja2 import TemplateError
from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.tasks.manager import TaskDict

from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.common.files import link, sha256_file, write_json
from tokalign.evaluation.suites.tasks.files import task_names

log = logging.getLogger(__name__)

HARNESS = "lm_eval"
TASK_ERRORS = (
    ValueError, LookupError, TypeError, AttributeError, ImportError, OSError, RuntimeError, DatasetsError, HfHubHTTPError,
    TemplateError,
)  # fmt: skip
"""Errors that a task may raise: its YAML file names code and templates, and its data can come from anywhere."""
LOCAL_BUILDERS = ("json", "csv", "parquet", "text", "arrow")
"""Values of ``dataset_path`` that read local files."""
LANGUAGE = re.compile(r"[a-z]{2,3}|[a-z]{3}_[A-Z][a-z]{3}")


def harness_version() -> str:
    """Return the version of lm-evaluation-harness."""
    return metadata.version(HARNESS)


def _file(path: Path, include: str | None) -> str:
    """Return a task file's path relative to the harness or to the user's folder."""
    for start in (Path(lm_eval.tasks.__file__).resolve().parent, *([Path(include).resolve()] if include else [])):
        if path.is_relative_to(start):
            return str(path.relative_to(start))
    return path.name


def yaml_files(path: Path) -> list[Path]:
    """Return a task's YAML file and the files that it includes."""
    found, left = [], [path.resolve()]
    while left:
        file = left.pop(0)
        if file in found:
            continue
        found.append(file)
        includes = load_yaml(file, resolve_func=False, recursive=False).get("include", [])
        left += [(file.parent / name).resolve() for name in ([includes] if isinstance(includes, str) else includes)]
    return found


def _rooted(value: Any, folder: Path) -> Any:
    """Resolve relative ``data_files`` against the folder of their YAML file; missing files stay unchanged."""
    if isinstance(value, dict):
        return {key: _rooted(each, folder) for key, each in value.items()}
    if isinstance(value, list):
        return [_rooted(each, folder) for each in value]
    return str(folder / value) if (folder / value).exists() or any(folder.glob(value)) else value


def task_manager(include: str | None) -> TaskManager:
    """Return the harness' index of tasks, with the tasks of a user's folder.

    ``data_files`` of the user's tasks are relative to their YAML file or, as in the harness, to the working folder.

    Raises:
        InputError: a YAML file of the folder cannot be read, or two define the same name.
    """
    own: dict[str, Path] = {}
    for file in sorted(Path(include).rglob("*.yaml")) if include else []:
        for name in task_names(file):
            if name in own:
                raise InputError(
                    f"{file}: a task of this name is there twice", found=f"{name}, also in {own[name]}", mend="rename one of them"
                )
            own[name] = file
    manager = TaskManager(include_path=include)
    for name, file in own.items():
        entry = manager.task_index.get(name)
        if entry is None or entry.yaml_path is None or entry.yaml_path.resolve() != file.resolve():
            raise InputError(
                f"{file}: lm-evaluation-harness cannot read this file", found=f"no task {name} of it in its index",
                expected="YAML as its own tasks, with files that `include` names beside it", mend="correct the file",
            )  # fmt: skip
        if entry.kind is not Kind.TASK:
            continue
        try:
            content = load_yaml(file, resolve_func=True)
        except (*TASK_ERRORS, yaml.YAMLError) as error:
            raise InputError(f"{file}: the task cannot be read", found=error, mend="correct the file") from error
        arguments = content.get("dataset_kwargs") or {}
        if "data_files" in arguments:
            content["dataset_kwargs"] = {**arguments, "data_files": _rooted(arguments["data_files"], file.resolve().parent)}
        entry.yaml_path, entry.cfg = None, content
    return manager


@dataclass(frozen=True)
class Leaf:
    """A single task that a name resolves to.

    Attributes:
        name: name in the reports of the harness.
        entry: entry of the index; ``None`` for a task defined within a group.
        content: content of its YAML files, with the overrides of its group.
    """

    name: str
    entry: Entry | None
    content: dict[str, Any]


def leaves(name: str, index: dict[str, Entry]) -> list[Leaf]:
    """Return the tasks that the name of a task, tag or group resolves to.

    Raises:
        ConfigurationError: there is nothing of this name.
    """
    return list(_leaves(name, index, {}))


def _leaves(name: str, index: dict[str, Entry], above: dict[str, Any]) -> Iterator[Leaf]:
    entry = index.get(name)
    if entry is None:
        close = [known for known in index if known.lower() == name.lower()] or difflib.get_close_matches(name, index, n=3)
        raise ConfigurationError(
            "evaluation: tasks: names: lm-evaluation-harness has no task of this name", found=repr(name),
            expected="a task, a group or a tag (`lm-eval ls tasks` lists them), or one of your own in `include`",
            mend=f"did you mean {' or '.join(close)}?" if close else "correct the name",
        )  # fmt: skip
    if entry.kind is Kind.TAG:
        for each in sorted(entry.tags):
            yield from _leaves(each, index, above)
    elif entry.kind is Kind.GROUP:
        yield from _members(name, entry.cfg or {}, index, above)
    else:
        yield Leaf(name, entry, {**(entry.cfg or {}), **above})


def _members(group: str, content: dict[str, Any], index: dict[str, Entry], above: dict[str, Any]) -> Iterator[Leaf]:
    """Yield the tasks of a group: names, names with overrides, and groups and tasks defined inline."""
    for member in content.get("task") or []:
        if isinstance(member, str):
            yield from _leaves(member, index, above)
        elif "group" in member and member["group"] not in index:
            yield from _members(f"{group}::{member['group']}", member, index, above)
        else:
            own = {key: value for key, value in member.items() if key not in ("group", "task")}
            name = member.get("group") or member["task"]
            if name in index:
                yield from _leaves(name, index, {**above, **own})
            else:
                yield Leaf(f"{group}::{name}", None, {**above, **own})


def language_of(name: str, content: dict[str, Any]) -> str:
    """Return the language of a task, an empty string if unknown.

    It is ``metadata: {language: ...}`` of the task's YAML file, or else the subset of its data set, if that is a language code
    and the task's name ends in it (``xnli_es``, ``belebele_spa_Latn``).
    """
    stated = (content.get("metadata") or {}).get("language") if isinstance(content.get("metadata"), dict) else None
    subset = str(content.get("dataset_name") or "")
    return str(stated or (subset if LANGUAGE.fullmatch(subset) and name.endswith(f"_{subset}") else ""))


def describe(leaf: Leaf, include: str | None, files: list[Path], *, own: bool) -> dict[str, Any]:
    """Return the entry of a task in the file of resolved tasks.

    Args:
        leaf: the task.
        include: folder of the user's own tasks.
        files: YAML files of the task.
        own: whether it is the user's own.

    Raises:
        ConfigurationError: it cannot be run here, or it is the user's own and its data are not local.
    """
    content = leaf.content
    data = content.get("dataset_path")
    arguments = content.get("dataset_kwargs") or {}
    place = f"evaluation: tasks: names: {leaf.name}"
    if content.get("unsafe_code"):
        raise ConfigurationError(f"{place}: runs code that the model writes", expected="a task without that", mend="leave it out")
    if content.get("doc_to_image") or content.get("doc_to_audio"):
        raise ConfigurationError(f"{place}: asks about images or sound", expected="a task on text", mend="leave it out")
    if own and "class" not in content:
        listed = arguments.get("data_files")
        listed = list(listed.values()) if isinstance(listed, dict) else [listed]
        paths = [name for each in listed for name in (each if isinstance(each, list) else [each])]
        if data not in LOCAL_BUILDERS or None in paths:
            raise ConfigurationError(
                f"{place}: a task of your own without local data", found=f"dataset_path: {data}",
                expected=f"{' or '.join(LOCAL_BUILDERS)}, and dataset_kwargs: data_files: with local files",
                mend="download the data set, and name its files in the YAML file",
            )  # fmt: skip
        for name in paths:
            if not Path(name).exists() and not any(Path().glob(name)):
                raise ConfigurationError(
                    f"{place}: its data are not there", found=name, expected="a file beside the YAML file, or in the working folder",
                    mend="correct data_files",
                )  # fmt: skip
    metrics = content.get("metric_list")
    kind = content.get("output_type")
    names = DEFAULT_METRIC_REGISTRY.get(kind, []) if metrics is None else [each["metric"] for each in metrics]
    version = content["metadata"].get("version") if isinstance(content.get("metadata"), dict) else None
    return {
        "name": leaf.name,
        "own": own,
        "version": version,
        "language": language_of(leaf.name, content),
        "output_type": kind,
        "shots": content.get("num_fewshot"),
        "metrics": [getattr(each, "__name__", str(each).rpartition(".")[2] or each) for each in names],
        "dataset_path": data,
        "dataset_name": content.get("dataset_name"),
        "revision": arguments.get("revision"),
        "files": {_file(file, include): sha256_file(file) for file in files},
    }


def resolve(names: list[str], include: str | None, shots: int | None) -> dict[str, Any]:
    """Resolve names of tasks, groups and tags to tasks; see :func:`describe`.

    Args:
        names: names from the configuration.
        include: folder of the user's own tasks, or ``None``.
        shots: examples in prompts; ``None`` for each task's default.

    Raises:
        ConfigurationError: there is no such task, it cannot be run here, or two of the names resolve to the same task.
        InputError: a YAML file of ``include`` is damaged.
    """
    own = {name: file for file in (sorted(Path(include).rglob("*.yaml")) if include else []) for name in task_names(file)}
    manager = task_manager(include)
    tasks, meant_by = [], {}
    for name in names:
        for leaf in leaves(name, manager.task_index):
            if leaf.name in meant_by:
                raise ConfigurationError(
                    "evaluation: tasks: names: a task is meant twice", found=f"{leaf.name}, by {meant_by[leaf.name]} and by {name}",
                    mend="leave one of them out",
                )  # fmt: skip
            meant_by[leaf.name] = name
            if name in own and leaf.name not in own:
                raise ConfigurationError(
                    "evaluation: tasks: names: a group of your own has a task of the harness", found=f"{leaf.name} in {name}",
                    mend="name that task itself, so that its data are fetched",
                )  # fmt: skip
            path = own.get(leaf.name) or (leaf.entry.yaml_path if leaf.entry else None)
            described = describe(leaf, include, yaml_files(path) if path else [], own=leaf.name in own)
            tasks.append({**described, "of": name})
    return {"names": names, "include": include, "shots": shots, "lm_eval": harness_version(), "tasks": tasks}


@contextlib.contextmanager
def data_cache(folder: Path) -> Iterator[None]:
    """Make the library ``datasets`` use a folder as its cache, within the context."""
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = folder
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = before


@contextlib.contextmanager
def fetched_data(fetched: Path | None) -> Iterator[None]:
    """Use fetched data sets read-only: locks and derived files go to a temporary folder of links.

    Raises:
        ArtifactError: the folder was not made by :func:`fetch`.
    """
    with tempfile.TemporaryDirectory(prefix="tasks-") as name:
        place = Path(name)
        if fetched is not None:
            if not (fetched / "provenance.json").is_file():
                raise ArtifactError(f"{fetched}: no data of tasks", found="no provenance.json", mend="fetch the tasks again")
            shutil.copytree(fetched / "datasets", place, copy_function=link, dirs_exist_ok=True)
        with data_cache(place):
            yield


def load_task(manager: TaskManager, name: str) -> TaskDict:
    """Load a task, or the tasks of a group or tag, with their data.

    Raises:
        InputError: a task cannot be loaded.
    """
    try:
        return manager.load(name)
    except TASK_ERRORS as error:
        raise InputError(
            f"task {name}: cannot be loaded",
            found=f"{type(error).__name__}: {str(error)[:500]}",
            expected="its data in the cache, and what it needs installed",
            mend="run `snakemake fetched` on a machine with network (for a gated data set with HF_TOKEN), or leave the task out",
        ) from error


def fetch(resolved: dict[str, Any], out: Path) -> None:
    """Download the data of all tasks that are not the user's own.

    Args:
        resolved: result of :func:`resolve`.
        out: existing empty folder; gets ``datasets/``, a cache that works without network, and ``provenance.json`` with each
            task's data set, fetched commit, and rows per split.

    Raises:
        InputError: a task cannot be loaded.
    """
    cache = out / "datasets"
    cache.mkdir()
    manager = task_manager(resolved["include"])
    chosen = list(dict.fromkeys(task["of"] for task in resolved["tasks"] if not task["own"]))
    known = {task["name"]: task for task in resolved["tasks"]}
    provenance = []
    with data_cache(cache):
        for number, name in enumerate(chosen, 1):
            log.info("fetching task %d of %d: %s", number, len(chosen), name)
            for own, task in load_task(manager, name)["tasks"].items():
                provenance.append(
                    {
                        "task": own,
                        "dataset_path": known.get(own, {}).get("dataset_path"),
                        "dataset_name": known.get(own, {}).get("dataset_name"),
                        "commit": commit_of(task),
                        "rows": {split: len(rows) for split, rows in (getattr(task, "dataset", None) or {}).items()},
                    }
                )
    for extra in [*cache.glob("*.lock"), *cache.rglob("*.incomplete")]:
        extra.unlink()
    shutil.rmtree(cache / "downloads", ignore_errors=True)  # the data are already there as Arrow files
    write_json(out / "provenance.json", {"lm_eval": resolved["lm_eval"], "tasks": provenance})


def commit_of(task: Task) -> str | None:
    """Return the commit of a task's data, which is the name of its cache folder, or ``None``."""
    for rows in (getattr(task, "dataset", None) or {}).values():
        for file in getattr(rows, "cache_files", []):
            return Path(file["filename"]).parent.name
    return None
