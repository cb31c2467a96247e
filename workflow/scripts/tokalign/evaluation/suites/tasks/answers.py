"""Answers of models to tasks of lm-evaluation-harness: its values, with one item per question."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from lm_eval.api import metrics as aggregations
from lm_eval.api.group import Group
from lm_eval.api.model import LM
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate as harness_evaluate
from lm_eval.tasks.manager import TaskDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokalign.common.errors import ArtifactError
from tokalign.common.files import read_json, sha256_json
from tokalign.config.suites import TasksSettings
from tokalign.evaluation.results import Measure, digest_of, metrics_of
from tokalign.evaluation.statistics.bootstrap import JACKKNIFE_GROUPS, SEED, jackknife_interval
from tokalign.evaluation.suite import Findings, Suite
from tokalign.evaluation.suites.tasks.harness_model import HarnessModel
from tokalign.evaluation.suites.tasks.resolve import TASK_ERRORS, fetched_data, harness_version, load_task, task_manager

log = logging.getLogger(__name__)

QUESTIONS = "questions"
"""Column that counts the items: 1 in every row."""
BETTER = {True: "higher", False: "lower", None: "neither"}
AGREEMENT = 1e-9
"""Largest relative difference between our value of a metric and the harness'; only the order of summation differs."""


@dataclass(frozen=True)
class Answers:
    """The harness' results for the questions of a task.

    Attributes:
        task: task object of the harness.
        name: name of the task.
        condition: number of examples in the prompts, such as ``0-shot``.
        language: language of the task, or empty.
        samples: samples as the harness logs them, one per question and filter.
        values: values by (metric, filter) and number of the question, in the harness' order.
    """

    task: Task
    name: str
    condition: str
    language: str
    samples: list[dict[str, Any]]
    values: dict[tuple[str, str], dict[int, Any]]

    @classmethod
    def of(cls, task: Task, name: str, shots: int, language: str, samples: list[dict[str, Any]]) -> Answers:
        """Group the samples of a task by metric and filter."""
        values: dict[tuple[str, str], dict[int, Any]] = {}
        for sample in samples:
            for metric in sample["metrics"]:
                values.setdefault((metric, sample["filter"]), {})[sample["doc_id"]] = sample[metric]
        return cls(task, name, f"{shots}-shot", language, samples, values)

    @property
    def questions(self) -> list[int]:
        """Numbers of the questions."""
        return list(dict.fromkeys(sample["doc_id"] for sample in self.samples))

    def aggregation(self, metric: str) -> Callable[[list[Any]], float]:
        """Return the function that aggregates the questions' values; as in the harness, the mean by default."""
        return self.task.aggregation().get(metric, aggregations.mean)

    def better(self, metric: str) -> str:
        """Return whether a higher or a lower value is better: ``higher``, ``lower`` or ``neither``."""
        return BETTER[self.task.higher_is_better().get(metric)]


def label_of(metric: str, filtered: str) -> str:
    """Return our name of a metric: the harness' name, with its filter if it has one (``exact_match,strict-match``)."""
    return metric if filtered == "none" else f"{metric},{filtered}"


def as_sums(answers: Answers, metric: str, filtered: str) -> tuple[Measure, dict[str, list[float]]] | None:
    """Return a metric as a function of sums over questions, and the item columns that it needs.

    Returns:
        ``None`` if the aggregation is no such function (matthews_corrcoef, f1, median, a function of the task itself), or if some
        questions lack the metric.
    """
    found = answers.values[metric, filtered]
    values = [found[number] for number in answers.questions if number in found]
    label, better = label_of(metric, filtered), answers.better(metric)
    aggregation = answers.aggregation(metric)
    if len(values) < len(answers.questions):
        return None
    if aggregation is aggregations.mean and all(isinstance(value, int | float | np.number | np.bool_) for value in values):
        numbers = [float(value) for value in values]
        return Measure(label, "ratio", (label, QUESTIONS), "mean per question", better, level="item"), {label: numbers}
    nats = f"{label}.nll"
    if aggregation is aggregations.perplexity:
        return Measure(label, "exp_ratio", (nats, QUESTIONS), "per answer", better), {nats: [-float(value) for value in values]}
    if aggregation in (aggregations.weighted_perplexity, aggregations.bits_per_byte):
        weight = f"{label}.weight"
        columns = {nats: [-float(value[0]) for value in values], weight: [float(value[1]) for value in values]}
        if aggregation is aggregations.weighted_perplexity:
            return Measure(label, "exp_ratio", (nats, weight), "per unit of text", better), columns
        return Measure(label, "ratio", (nats, weight), "bits/byte", better, scale=1 / math.log(2)), columns
    return None


def items_of(answers: Answers) -> pa.Table:
    """Return the questions of a task as items, without the columns of metrics.

    Ids are the harness' numbers of the questions. ``question_hash`` and ``prompt_hash`` are SHA-256 of the question's record and
    of its (first) prompt, ``target`` is the right answer, ``response`` the log-likelihoods or the text of the model, as JSON.
    """
    first = {sample["doc_id"]: sample for sample in reversed(answers.samples)}
    rows = [first[number] for number in answers.questions]
    size = len(rows)
    return pa.table(
        {
            "dataset": [answers.name] * size,
            "condition": [answers.condition] * size,
            "language": [answers.language] * size,
            "domain": [""] * size,
            "id": [str(number) for number in answers.questions],
            QUESTIONS: [1.0] * size,
            "question_hash": [row["doc_hash"] for row in rows],
            "prompt_hash": [row["prompt_hash"] for row in rows],
            "target": [str(row["target"]) for row in rows],
            "response": [json.dumps(row["resps"], ensure_ascii=False, default=str) for row in rows],
        }
    )


def leave_out(size: int) -> list[np.ndarray]:
    """Return, for each jackknife group, the indices outside it; question i is in group i modulo the number of groups."""
    number = min(JACKKNIFE_GROUPS, size)
    return [np.flatnonzero(np.arange(size) % number != group) for group in range(number)]


def jackknifed(value: float, replicates: Sequence[float]) -> dict[str, Any]:
    """Return value, interval and replicates of a metric that is not a function of sums; ``None`` if undefined."""
    if not math.isfinite(value):
        return {"value": None, "ci95": None}
    if len(replicates) < 2 or not np.isfinite(replicates).all():
        return {"value": value, "ci95": None}
    numbers = [float(each) for each in replicates]
    return {"value": value, "ci95": jackknife_interval(value, numbers), "replicates": {"kind": "jackknife", "values": numbers}}


def other_metric(answers: Answers, metric: str, filtered: str) -> dict[str, Any]:
    """Return a metric by the harness' own aggregation, with a jackknife interval over groups of questions."""
    values = list(answers.values[metric, filtered].values())
    aggregation = answers.aggregation(metric)
    parts = leave_out(len(values)) if len(values) > 1 else []
    return {
        "metric": label_of(metric, filtered),
        "dataset": answers.name,
        "condition": answers.condition,
        "language": answers.language,
        "domain": "",
        "n": len(values),
        "items": "questions",
        "unit": getattr(aggregation, "__name__", "aggregation of the task"),
        "better": answers.better(metric),
        "level": "corpus",
        **jackknifed(float(aggregation(values)), [float(aggregation([values[i] for i in part])) for part in parts]),
    }


def metrics_and_items(answers: Answers, expected: dict[str, Any]) -> tuple[list[dict[str, Any]], pa.Table]:
    """Return all metrics of a task and its items.

    Args:
        answers: answers of a model.
        expected: values of the harness, by ``metric,filter``.

    Raises:
        ArtifactError: our value differs from the harness'.
    """
    items, measures, metrics = items_of(answers), [], []
    for metric, filtered in answers.values:
        sums = as_sums(answers, metric, filtered)
        if sums is None:
            metrics.append(other_metric(answers, metric, filtered))
            continue
        measures.append(sums[0])
        for name, column in sums[1].items():
            items = items.append_column(name, pa.array(column, pa.float64())) if name not in items.column_names else items
    metrics = (metrics_of(items, measures, QUESTIONS) if measures else []) + metrics
    for found in metrics:
        metric, _, filtered = found["metric"].partition(",")
        theirs = expected[f"{metric},{filtered or 'none'}"]
        agrees = not math.isfinite(theirs) if found["value"] is None else math.isclose(found["value"], theirs, rel_tol=AGREEMENT)
        if not agrees:
            raise ArtifactError(
                f"task {answers.name}: another value than that of lm-evaluation-harness", found=f"{found['metric']} {found['value']}",
                expected=str(theirs), mend="report this: the aggregation of the task is not what it seems to be",
            )  # fmt: skip
    return metrics, items


def group_metrics(group: Group, answers: dict[str, Answers], expected: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics of a group of tasks, by its own weights; the jackknife leaves out questions in all tasks at once.

    Args:
        group: group of the harness.
        answers: answers by task.
        expected: values of the harness, by ``metric,filter``.
    """
    parts = [answers[task.task_name] for task in group.get_all_tasks()]
    found = []
    for key in [key for key in expected if "," in key and "_stderr," not in key]:
        metric, filtered = key.split(",", 1)
        own = [part for part in parts if (metric, filtered) in part.values]
        values = {part.name: list(part.values[metric, filtered].values()) for part in own}
        number = min([JACKKNIFE_GROUPS, *map(len, values.values())])
        replicates = []
        for left_out in range(number):
            some = {name: [value for i, value in enumerate(each) if i % number != left_out] for name, each in values.items()}
            if not all(some.values()):
                replicates = []
                break
            sizes = {
                part.name: {key: part.aggregation(metric)(some[part.name]), "sample_len": len(some[part.name])} for part in own
            }
            replicates.append(group.aggregate(sizes)[key])
        conditions, directions = {part.condition for part in own}, {part.better(metric) for part in own}
        found.append(
            {
                "metric": label_of(metric, filtered),
                "dataset": group.name,
                "condition": conditions.pop() if len(conditions) == 1 else "",
                "language": "",
                "domain": "",
                "n": sum(map(len, values.values())),
                "items": QUESTIONS,
                "unit": "of its tasks",
                "better": directions.pop() if len(directions) == 1 else "neither",
                "level": "corpus",
                **jackknifed(float(expected[key]), replicates),
            }
        )
    return found


def seed_and_shots(tasks: dict[str, Task], shots: int | None) -> None:
    """Set seeds and shots as the harness' ``simple_evaluate`` does before it runs tasks.

    Args:
        tasks: tasks by name, changed in place.
        shots: examples in the prompt; ``None`` for the task's default, or 0 without one. A task that sets 0 keeps it.
    """
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    for name, task in tasks.items():
        own = task.get_config("num_fewshot")
        if shots is not None and own == 0 != shots:
            log.warning("warning: %s is defined for 0 examples in its prompt, and keeps that; %d were asked for", name, shots)
        elif shots is not None:
            task.set_config(key="num_fewshot", value=shots)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=SEED)


def run_task(lm: LM, name: str, loaded: TaskDict, shots: int | None, limit: int | None) -> dict[str, Any]:
    """Run a task, a group or the tasks of a tag.

    Args:
        lm: the model for the harness.
        name: name of the task, for messages.
        loaded: result of :func:`tokalign.evaluation.suites.tasks.resolve.load_task`.
        shots: examples in the prompt, see :func:`seed_and_shots`.
        limit: questions per task; ``None`` takes all.

    Returns:
        The result of the harness' ``evaluate``, with samples.

    Raises:
        ArtifactError: the task cannot be run.
    """
    seed_and_shots(loaded["tasks"], shots)
    try:
        return harness_evaluate(lm, loaded, limit=limit, bootstrap_iters=0, log_samples=True)
    except TASK_ERRORS as error:
        raise ArtifactError(
            f"task {name}: cannot be run",
            found=f"{type(error).__name__}: {str(error)[:500]}",
            mend="leave the task out, or correct it if it is your own; where memory ran out lower batch_size",
        ) from error


def checked(resolved: Path, settings: TasksSettings) -> dict[str, Any]:
    """Read the file of resolved tasks.

    Raises:
        ArtifactError: it was made for other tasks or by another version of the harness.
    """
    content = read_json(resolved)
    wanted = {"names": settings.names, "include": settings.include, "shots": settings.shots, "lm_eval": harness_version()}
    for key, value in wanted.items():
        if content.get(key) != value:
            raise ArtifactError(
                f"{resolved}: not of these tasks",
                found=f"{key}: {content.get(key)}",
                expected=str(value),
                mend="resolve the tasks again",
            )
    return content


@dataclass(frozen=True)
class LoadedTasks:
    """Tasks of the harness with their data.

    Attributes:
        loaded: loaded tasks by their names in the settings.
        described: entries of the file of resolved tasks, by task.
    """

    loaded: dict[str, TaskDict]
    described: dict[str, dict[str, Any]]


def within(tasks: str | Path, fetched: str | Path | None) -> AbstractContextManager[None]:
    """Let the harness find fetched data; see :func:`fetched_data`."""
    return fetched_data(Path(fetched) if fetched else None)


def read(settings: TasksSettings, tasks: str | Path, fetched: str | Path | None) -> tuple[LoadedTasks, dict[str, str]]:
    """Load the tasks.

    Args:
        settings: names, shots and limits.
        tasks: file of :func:`tokalign.evaluation.suites.tasks.resolve.resolve`.
        fetched: folder of :func:`tokalign.evaluation.suites.tasks.resolve.fetch`; ``None`` if all tasks are the user's own.

    Raises:
        InputError: a task cannot be loaded.
        ArtifactError: the file was made for other tasks.
    """
    described = {task["name"]: task for task in checked(Path(tasks), settings)["tasks"]}
    manager = task_manager(settings.include)
    loaded = {name: load_task(manager, name) for name in settings.names}
    digests = {"tasks": digest_of(tasks)}
    if fetched:
        digests["data"] = digest_of(Path(fetched) / "provenance.json")
    return LoadedTasks(loaded, described), digests


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tasks: LoadedTasks, settings: TasksSettings) -> Findings:
    """Let a model answer all tasks.

    Returns:
        The questions of all tasks, and the metrics of tasks and groups.

    Raises:
        ArtifactError: a task cannot be run, or a log-likelihood is not finite.
    """
    lm = HarnessModel(model, tokenizer, settings.batch_size)
    metrics, tables, more = [], [], {}
    for number, (name, parts) in enumerate(tasks.loaded.items(), 1):
        log.info("task %d of %d: %s", number, len(tasks.loaded), name)
        results = run_task(lm, name, parts, settings.shots, settings.limit)
        answers = {
            task: Answers.of(own, task, results["n-shot"][task], tasks.described[task]["language"], results["samples"][task])
            for task, own in parts["tasks"].items()
        }
        for task, own in answers.items():
            found, items = metrics_and_items(own, results["results"][task])
            metrics += found
            tables.append(items)
            described = tasks.described[task]
            more[task] = {
                **{key: described[key] for key in ("version", "output_type", "dataset_path", "dataset_name", "files")},
                "shots": results["n-shot"][task],
                "questions_in_all": results["n-samples"][task]["original"],
                "prompts": sha256_json(items["prompt_hash"].to_pylist()),
                "first_prompt": str(own.samples[0]["arguments"][0][0]),
            }
        for group in parts.get("groups", {}).values():
            metrics += group_metrics(group, answers, results["results"].get(group.name, {}))
    return Findings(pa.concat_tables(tables, promote_options="default"), metrics, {"tasks": more})


def report(found: Findings, tasks: LoadedTasks, settings: TasksSettings, seconds: float) -> Findings:
    """Return the findings unchanged; :func:`measure` computes the metrics while the answers are in memory."""
    for metric in found.metrics:
        log.info("%s %s %s: %s", metric["dataset"], metric["condition"], metric["metric"], metric["value"])
    return found


SUITE = Suite(read, measure, report, libraries=("datasets", "lm_eval"), within=within)
