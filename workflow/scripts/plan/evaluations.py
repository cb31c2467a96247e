"""The evaluations of a study as files: models and data of each suite, and the comparisons of results."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tokalign.common.errors import ConfigurationError
from tokalign.config.experiments import Run
from tokalign.config.suites import MODEL_SUITES
from tokalign.evaluation.suites.tasks.files import data_files, task_names
from tokalign.report.figures.sources import figures_of

from plan import paths
from plan.study import Block, Study, unique

ROLES = {"source": "source", "initialized": "initialized", "baselines": "baseline", "stages": "stage", "adapted": "adapted"}
"""Role in the comparison of each kind of checkpoint that a suite may measure."""


class Evaluations:
    """The measurements for the experiments of a study."""

    def __init__(self, study: Study):
        """Keep the study."""
        self.study = study
        self.own_tasks = cache(self._own_tasks)

    def suite(self, evaluation: str, suite: str) -> Block | None:
        """Return the settings of a suite, or ``None`` if the evaluation does not include it."""
        return self.study.config["evaluations"][evaluation].get(suite)

    def included(self, evaluation: str, suite: str) -> Block:
        """Return the settings of a suite that a result is asked for.

        Raises:
            ConfigurationError: the evaluation does not include it.
        """
        block = self.suite(evaluation, suite)
        if block is None:
            raise ConfigurationError(
                f"evaluations.{evaluation}.{suite}: the evaluation does not include this suite", mend=f"add `{suite}:` to it"
            )
        return block

    # ---- models ----

    def checkpoint_names(self, checkpoint: str) -> dict[str, Any]:
        """Return the names in a checkpoint's path, and its tokenizer.

        Args:
            checkpoint: path below results/.
        """
        names = paths.checkpoint_names(checkpoint)
        return {"tokenizer": self.study.own_tokenizer(names["model"]), **names}

    def tokenizer(self, checkpoint: str) -> str:
        """Return the tokenizer of a checkpoint."""
        return paths.TOKENIZER.of(self.checkpoint_names(checkpoint))

    def reference_tokenizer(self, evaluation: str, checkpoint: str) -> str:
        """Return the tokenizer that normalizes perplexity."""
        chosen = self.included(evaluation, "perplexity")["reference_tokenizer"]
        own = self.study.own_tokenizer(self.checkpoint_names(checkpoint)["model"])
        return paths.TOKENIZER.of(tokenizer=chosen or own)

    def checkpoints(self, run: Run, kinds: list[str]) -> list[str]:
        """Return a run's checkpoints of the given kinds (``ROLES``), as paths below results/."""
        study = self.study
        trained = [study.adapted(run, stage) for stage in study.stages(run.recipe)]
        made = {
            "source": [paths.MODEL.of(model=run.model)],
            "baselines": [study.initialized(run, alignment) for alignment in run.baselines],
            "initialized": [study.initialized(run, run.alignment)],
            "stages": trained[:-1],
            "adapted": trained[-1:],
        }
        return [paths.checkpoint_of(path) for kind, found in made.items() if kind in kinds for path in found]

    # ---- data ----

    def corpus(self, evaluation: str) -> str:
        """Return the name of the corpus with the held-out text."""
        return self.study.config["evaluations"][evaluation]["corpus"]

    def testsets(self, evaluation: str, suite: str) -> list[str]:
        """Return the names of the test sets of a suite; none if the evaluation does not include it."""
        block = self.suite(evaluation, suite) or {}
        named = [*block.get("testsets", []), *(direction["testset"] for direction in block.get("directions", []))]
        return unique([*named, *([block["testset"]] if block.get("testset") else [])])

    def testset_items(self, evaluation: str, suite: str) -> list[str]:
        """Return the items of the test sets of a suite."""
        return [paths.TESTSET.of(testset=name) for name in self.testsets(evaluation, suite)]

    def prompts(self, evaluation: str) -> str:
        """Return the file of prompts to continue: the items of a test set, or else the held-out text."""
        items = self.testset_items(evaluation, "generation")
        return items[0] if items else paths.DOCUMENTS.of(evaluation=evaluation)

    def _own_tasks(self, evaluation: str) -> frozenset[str]:
        folder = self.included(evaluation, "tasks")["include"]
        files = sorted(Path(folder).rglob("*.yaml")) if folder else []
        return frozenset(name for file in files for name in task_names(file))

    def harness_tasks(self, evaluation: str) -> list[str]:
        """Return the tasks that come with the harness; data of the user's own tasks are local files."""
        return sorted(set(self.included(evaluation, "tasks")["names"]) - self.own_tasks(evaluation))

    def fetched_tasks(self, evaluation: str) -> list[str]:
        """Return the data folder of the harness's tasks, if the evaluation has such tasks."""
        return [paths.FETCHED_TASKS.of(evaluation=evaluation)] if self.harness_tasks(evaluation) else []

    def task_files(self, evaluation: str) -> list[str]:
        """Return the files of the user's own tasks and their data."""
        folder = self.included(evaluation, "tasks")["include"]
        if not folder:
            return []
        own = {path for path in Path(folder).rglob("*") if path.is_file()}
        data = {file for path in Path(folder).rglob("*.yaml") for file in data_files(path)}
        return [str(path) for path in sorted(own | data)]

    def fetched_files(self) -> list[str]:
        """Return what the fetch rules download for the suites: test sets and task data."""
        found: list[str] = []
        for evaluation in unique(run.evaluation for run in self.study.runs):
            names = unique(
                name for suite in self.study.config["evaluations"][evaluation] for name in self._named(evaluation, suite)
            )
            found += [path for name in names for path in self.study.fetched_testset(name)]
            found += self.fetched_tasks(evaluation) if self.suite(evaluation, "tasks") else []
        return unique(found)

    def _named(self, evaluation: str, suite: str) -> list[str]:
        return self.testsets(evaluation, suite) if isinstance(self.suite(evaluation, suite), dict) else []

    # ---- results ----

    def suite_results(self, suite: str) -> list[str]:
        """Return the results of a model suite for all experiments."""
        return unique(
            paths.SUITE_RESULT.of(evaluation=run.evaluation, suite=suite, checkpoint=checkpoint)
            for run in self.study.runs
            if (block := self.suite(run.evaluation, suite)) is not None
            for checkpoint in self.checkpoints(run, block["checkpoints"])
        )

    def tokenizer_results(self) -> list[str]:
        """Return the results of all tokenizers."""
        return unique(
            paths.TOKENIZER_RESULT.of(evaluation=run.evaluation, tokenizer=tokenizer)
            for run in self.study.runs
            for tokenizer in (self.study.own_tokenizer(run.model), run.tokenizer)
        )

    def alignment_scores(self) -> list[str]:
        """Return the scores of all alignments, for evaluations that score alignments."""
        return unique(
            paths.ALIGNMENT_SCORES.of(
                evaluation=run.evaluation,
                corpus=run.corpus,
                source_tokenizer=self.study.own_tokenizer(run.model),
                target_tokenizer=run.tokenizer,
                alignment=alignment,
            )
            for run in self.study.runs
            if self.suite(run.evaluation, "alignment") is not None
            for alignment in self.study.alignments_of(run)
        )

    def comparison_entries(self, evaluation: str) -> list[dict[str, Any]]:
        """Return the results of an evaluation, each with its role and the source model's result as its baseline.

        A new tokenizer is compared with the own tokenizers of all models that get it; a compared result has no other entry
        without a baseline.
        """
        entries: dict[tuple[str, str | None], dict[str, Any]] = {}

        def add(path: str, role: str, baseline: str | None) -> None:
            entries.setdefault((path, baseline), {"path": path, "role": role, "baseline": baseline})

        for run in (run for run in self.study.runs if run.evaluation == evaluation):
            for suite in MODEL_SUITES:
                block = self.suite(evaluation, suite)
                if block is None:
                    continue

                def result(checkpoint: str, suite: str = suite) -> str:
                    return paths.SUITE_RESULT.of(evaluation=evaluation, suite=suite, checkpoint=checkpoint)

                chosen = block["checkpoints"]
                source = result(paths.checkpoint_of(paths.MODEL.of(model=run.model))) if "source" in chosen else None
                for kind, role in ROLES.items():
                    for checkpoint in self.checkpoints(run, [kind] if kind in chosen else []):
                        add(result(checkpoint), role, None if role == "source" else source)
            own = paths.TOKENIZER_RESULT.of(evaluation=evaluation, tokenizer=self.study.own_tokenizer(run.model))
            add(own, "tokenizer", None)
            add(paths.TOKENIZER_RESULT.of(evaluation=evaluation, tokenizer=run.tokenizer), "tokenizer", own)
        compared = {path for path, baseline in entries if baseline}
        return [entry for (path, baseline), entry in entries.items() if baseline or path not in compared]

    def compared_results(self, evaluation: str) -> list[str]:
        """Return the results in the comparison of an evaluation."""
        return unique(entry["path"] for entry in self.comparison_entries(evaluation))

    def compared_items(self, evaluation: str) -> list[str]:
        """Return the items of the results in the comparison of an evaluation."""
        return [str(Path(path).with_suffix(".parquet")) for path in self.compared_results(evaluation)]

    def tabled(self) -> dict[str, list[str]]:
        """Return the results for the tables by kind; these are the options of make_tables."""
        return {
            "perplexity": self.suite_results("perplexity"),
            "tokenizers": self.tokenizer_results(),
            "alignments": self.study.alignment_reports(),
            "alignment_scores": self.alignment_scores(),
            "stages": self.study.stage_models(),
            "comparisons": self.comparisons(),
        }

    def comparisons(self) -> list[str]:
        """Return the comparisons of all evaluations."""
        return unique(paths.COMPARISON.of(evaluation=run.evaluation) for run in self.study.runs)

    def figures(self) -> list[str]:
        """Return the names of the figures for which the evaluations have results."""
        used = unique(run.evaluation for run in self.study.runs)
        return figures_of(self.study.config["evaluations"][name] for name in used)
