"""The table of each figure, and which configurations have the figure; rules and drawing share this list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

COMPARISON = "comparison"
ANSWERS = ("tasks", "choices")


@dataclass(frozen=True)
class FigureSource:
    """The data of a figure.

    Attributes:
        title: title in the report.
        table: name of the only table it is drawn from.
        suites: suites an evaluation must have; of a nested tuple, one is enough.
        with_source: whether models are compared with their source model, which all these suites must have measured.
    """

    title: str
    table: str = COMPARISON
    suites: tuple[str | tuple[str, ...], ...] = ()
    with_source: bool = False

    def drawn_of(self, evaluation: Mapping[str, Any]) -> bool:
        """Return whether an evaluation (a configuration block with its defaults) measures what the figure shows."""
        chosen: set[str] | None = None
        for needed in self.suites:
            names = (needed,) if isinstance(needed, str) else needed
            found = [set(evaluation[name].get("checkpoints", ())) for name in names if name in evaluation]
            if not found:
                return False
            measured = set[str]().union(*found)
            chosen = measured if chosen is None else chosen & measured
        return not self.with_source or chosen is None or ("source" in chosen and len(chosen) > 1)


SOURCES: dict[str, FigureSource] = {
    "compression": FigureSource("Compression by language", "tokenizers"),
    "bits_per_byte": FigureSource("Bits per byte along the stages", "bits_per_byte", ("perplexity",)),
    "loss": FigureSource("Training loss", "training"),
    "progress": FigureSource("Training: held-out text, learning rate, speed, memory", "training"),
    "alignment": FigureSource("How tokens were aligned", "alignments"),
    "tokenizer_efficiency": FigureSource("Tokenizers: fertility, compression, whole words"),
    "perplexity": FigureSource("Bits per byte and normalized perplexity by language", suites=("perplexity",)),
    "languages": FigureSource("Bits per byte of each language, source and adapted", suites=("perplexity",), with_source=True),
    "nlu_tasks": FigureSource("Tasks and multiple-choice questions", suites=(ANSWERS,)),
    "machine_translation": FigureSource("Translation: BLEU, chrF++, TER, length", suites=("translation",)),
    "generation_quality": FigureSource("Generated text: diversity and repetition", suites=("generation",)),
    "efficiency": FigureSource("Speed, latency and memory", suites=("efficiency",)),
    "quality_speed": FigureSource("Quality against speed", suites=("perplexity", "efficiency")),
    "summary_radar": FigureSource(
        "Summary: ratios to the source model", suites=("perplexity", (*ANSWERS, "translation", "efficiency")), with_source=True
    ),
    "fertility_trap": FigureSource(
        "Fertility trap: fertility, speed, chrF-E", suites=("translation", "efficiency"), with_source=True
    ),
    "metric_disagreement": FigureSource("Do metrics of translation agree?", suites=("translation",), with_source=True),
    "chrf_delta_interval": FigureSource("chrF-Δ with its intervals", suites=("translation",)),
    "paper_summary": FigureSource(
        "Tokenizer, language modeling, translation, speed", suites=("perplexity", "translation", "efficiency")
    ),
}
"""Every figure; its name is that of its files."""


def figures_of(evaluations: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the figures of a configuration.

    Args:
        evaluations: blocks of the evaluations used by its experiments, with their defaults.
    """
    blocks = list(evaluations)
    return [name for name, source in SOURCES.items() if any(source.drawn_of(block) for block in blocks)]
