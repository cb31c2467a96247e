"""The skeleton of all model suites: load a model, measure it, time that, write the result.

A model suite is a module in ``suites/`` with three functions and a ``SUITE`` that names them; its line in ``SUITES`` of
:mod:`tokalign.config.suites` says which module.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tokalign.config.base import Block
from tokalign.config.suites import SUITES
from tokalign.evaluation.results import circumstances, digest_of, write_result
from tokalign.models.loading import check_fit, load_for_evaluation
from tokalign.tokenizers.loading import load_tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """What a suite found.

    Attributes:
        items: one row per document, question, segment ... with ``ITEM_COLUMNS``.
        metrics: dictionaries with ``METRIC_KEYS``.
        more: details that only this suite reports.
    """

    items: pa.Table
    metrics: list[dict[str, Any]]
    more: dict[str, Any]


def _no_surroundings(**_: Any) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Suite:
    """How a suite measures a model.

    Attributes:
        read: takes the settings and the paths of the inputs by name; returns the data and its SHA-256 by name. It is called
            first, so that a missing input is found before a model is loaded.
        measure: takes the model (in evaluation mode, on its device), tokenizer, data and settings; only this call is timed.
        report: takes the return value of ``measure``, the data, settings and seconds; returns the findings.
        libraries: distributions used besides torch and transformers.
        within: takes the paths of the inputs; returns a context in which all three functions run.
    """

    read: Callable[..., tuple[Any, dict[str, str]]]
    measure: Callable[..., Any]
    report: Callable[..., Findings]
    libraries: tuple[str, ...] = ()
    within: Callable[..., AbstractContextManager[None]] = _no_surroundings


def load_suite(name: str) -> Suite:
    """Import a suite of models, with the libraries that it needs."""
    suite: Suite = importlib.import_module(f"tokalign.evaluation.suites.{SUITES[name].module}").SUITE
    return suite


def write_findings(
    output: str | Path,
    suite: str,
    findings: Findings,
    *,
    labels: Mapping[str, Any],
    settings: Block,
    digests: Mapping[str, str],
    how: Mapping[str, Any],
    seconds: float,
) -> None:
    """Write the result of a suite.

    Args:
        output: JSON file; the items go beside it.
        suite: name of the suite.
        findings: what the suite found.
        labels: what was evaluated.
        settings: settings of the suite.
        digests: SHA-256 of the model, tokenizer and data.
        how: ``versions``, ``device`` and ``precision``.
        seconds: time of the measurement.
    """
    write_result(
        output, suite=suite, labels=labels, settings=settings.plain(), items=findings.items, metrics=findings.metrics,
        digests=digests, seconds=seconds, more=findings.more, **how,
    )  # fmt: skip


def evaluate(
    name: str,
    folder: str | Path,
    tokenizer: str | Path,
    inputs: Mapping[str, Any],
    settings: Any,
    labels: Mapping[str, Any],
    output: str | Path,
) -> list[dict[str, Any]]:
    """Measure a model with a suite and write the result.

    Args:
        name: name of the suite.
        folder: model folder.
        tokenizer: tokenizer folder; the model folder if both are in one.
        inputs: paths by name (``Input.key``); a list of paths if the input takes many.
        settings: settings of the type in ``SUITES``, including ``precision`` and ``trust_remote_code``.
        labels: what is evaluated, copied into the result.
        output: JSON file to write, with its items beside it.

    Returns:
        The metrics.

    Raises:
        ArtifactError: the inputs are not what the suite reads, or the model cannot be measured.
        ConfigurationError: the settings do not fit the model.
    """
    suite = load_suite(name)
    with suite.within(**inputs):
        data, digests = suite.read(settings, **inputs)
        model = load_for_evaluation(folder, precision=settings.precision, trust_remote_code=settings.trust_remote_code)
        own = load_tokenizer(tokenizer, settings.trust_remote_code)
        check_fit(model, own)
        how = circumstances(model, *suite.libraries)
        log.info("%s on %s", how["precision"], how["device"])
        start = time.perf_counter()
        measured = suite.measure(model, own, data, settings)
        seconds = time.perf_counter() - start
        findings = suite.report(measured, data, settings, seconds)
    write_findings(
        output,
        name,
        findings,
        labels=labels,
        settings=settings,
        digests={"model": digest_of(folder), "tokenizer": digest_of(tokenizer), **digests},
        how=how,
        seconds=seconds,
    )
    return findings.metrics
