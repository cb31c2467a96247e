"""Figures drawn from tables alone: equal tables give equal bytes. ``sources`` lists the table of each figure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tokalign.common.errors import InputError
from tokalign.common.files import atomic_file
from tokalign.report.figures import paper, quality, speed, summary, training, vocabulary
from tokalign.report.figures.common import STYLE, Table
from tokalign.report.figures.sources import SOURCES

log = logging.getLogger(__name__)

FIGURES: dict[str, Callable[[Table], Figure]] = {
    "compression": vocabulary.compression,
    "bits_per_byte": training.bits_per_byte,
    "loss": training.loss_curves,
    "progress": training.training_progress,
    "alignment": vocabulary.alignment_categories,
    "tokenizer_efficiency": quality.tokenizer_efficiency,
    "perplexity": quality.perplexity,
    "languages": quality.languages,
    "nlu_tasks": quality.nlu_tasks,
    "machine_translation": quality.machine_translation,
    "generation_quality": quality.generation_quality,
    "efficiency": speed.efficiency,
    "quality_speed": speed.quality_speed,
    "summary_radar": summary.summary_radar,
    "fertility_trap": paper.fertility_trap,
    "metric_disagreement": paper.metric_disagreement,
    "chrf_delta_interval": paper.chrf_delta_interval,
    "paper_summary": paper.paper_summary,
}
"""The function that draws each figure of ``SOURCES`` from its table."""
METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
"""Formats in drawing order (a layout depends on the one before), and the metadata left out for equal bytes."""


def draw(name: str, table: Table, outputs: Sequence[str | Path]) -> None:
    """Draw a figure of ``FIGURES`` into files, in the format of their suffix (``.svg``, ``.png``, ``.pdf``).

    Raises:
        InputError: a suffix names no format.
        ArtifactError: the table lacks the data of the figure.
    """
    paths = [Path(output) for output in outputs]
    for path in paths:
        if path.suffix.removeprefix(".") not in METADATA:
            raise InputError(
                f"{path}: no format of figures", found=path.suffix, expected=", ".join(f".{kind}" for kind in METADATA)
            )
    with plt.rc_context({**matplotlib.rcParamsDefault, **STYLE, "backend": "Agg"}):
        try:
            figure = FIGURES[name](table)
            for path in sorted(paths, key=lambda path: list(METADATA).index(path.suffix.removeprefix("."))):
                kind = path.suffix.removeprefix(".")
                with atomic_file(path) as partial:
                    figure.savefig(partial, format=kind, metadata=METADATA[kind])
                log.info("%s: %s drawn", path, SOURCES[name].title)
        finally:
            plt.close("all")
