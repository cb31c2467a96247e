"""Translation by prompts: a model goes on after a segment, and what it writes up to the line break is its translation.

Every segment of a test set is translated and scored, an empty translation, too. BLEU, chrF++ and TER are sacrebleu's: its counts
of each segment are stored, and the metric is a function of their sums.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sacrebleu.metrics import BLEU, CHRF, TER
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.config.evaluations import TranslationSettings
from tokalign.evaluation.data.testsets import Testset, digest_of_testsets, read_testset
from tokalign.evaluation.results import Measure, metrics_of
from tokalign.evaluation.suite import Findings, Suite
from tokalign.models.writing import Decoding, Writer, Written
from tokalign.text.languages import base_code, bleu_tokenizer, english_name, has_spaces, words_of

log = logging.getLogger(__name__)

LINE_BREAK = "\n"
REPETITIVE = 0.4
"""A translation with a smaller share of different words repeats itself [tokalign-baseline]."""
LENGTH_RATIOS = (0.3, 3.0)
"""A translation that is shorter or longer than so many times its reference failed [tokalign-baseline]."""
COPIED = 0.5
"""A translation of which a greater share of words is in the source and not in the reference was left in the source language."""
CHARACTERS_OF_A_PIECE = 4
"""Of languages without spaces, repetition is that of pieces of so many characters."""


@dataclass(frozen=True)
class Segments:
    """The segments of one direction of a test set, those of the examples left out.

    Attributes:
        dataset: ``TESTSET:SOURCE-TARGET``.
        source: code of the language translated from.
        target: code of the language translated to.
        ids: of the segments.
        sources: texts, each one line.
        references: their translations.
        domains: kinds of text.
        shots: pairs of source and reference that stand in the prompt.
        examples: ids of these.
    """

    dataset: str
    source: str
    target: str
    ids: list[str]
    sources: list[str]
    references: list[str]
    domains: list[str]
    shots: list[tuple[str, str]]
    examples: list[str]


def one_line(text: str) -> str:
    """Return a text with a space for each line break: a segment is a line, in prompts and for sacrebleu."""
    return " ".join(text.splitlines()).strip()


def read_segments(testset: Testset, source: str, target: str, shots: int) -> Segments:
    """Take one direction of a parallel test set.

    Args:
        testset: with a column for each language.
        source: language that is translated from.
        target: language of the references.
        shots: segments, from the end, that are examples.

    Raises:
        ArtifactError: a language is missing, or a segment has no text.
        ConfigurationError: nothing is left beside the examples.
    """
    table = testset.items
    missing = [name for name in (source, target) if name not in table.column_names]
    if missing:
        raise ArtifactError(
            f"test set {testset.name}: no column {missing[0]}", found=table.column_names, expected=f"id, {source}, {target}",
            mend="make it again",
        )  # fmt: skip
    dataset = f"{testset.name}:{source}-{target}"
    if table.num_rows <= shots:
        raise ConfigurationError(
            f"evaluation: translation: no segment of {dataset} is left to translate",
            found=f"{table.num_rows} segments, shots: {shots}",
            expected="more segments than examples",
        )
    ids = table["id"].to_pylist()
    texts = {}
    for language in (source, target):
        texts[language] = [one_line(text or "") for text in table[language].to_pylist()]
        for name, text in zip(ids, texts[language], strict=True):
            if not text:
                raise ArtifactError(
                    f"test set {testset.name}: segment {name} has no text in {language}",
                    expected="a source and a reference for every segment",
                    mend="correct the test set: what has no reference cannot be scored",
                )
    rest = len(ids) - shots
    return Segments(
        dataset=dataset, source=source, target=target, ids=ids[:rest], sources=texts[source][:rest],
        references=texts[target][:rest], domains=[testset.domain] * rest,
        shots=list(zip(texts[source][rest:], texts[target][rest:], strict=True)), examples=ids[rest:],
    )  # fmt: skip


def fill_in(template: str, values: Mapping[str, str]) -> str:
    """Put values into the holes of a template, ``{name}``; braces in the values are text."""
    holes = "|".join(map(re.escape, values))
    return re.sub("{(" + holes + ")}", lambda match: values[match[1]], template)


def prompts_of(segments: Segments, template: str) -> list[str]:
    """Return the prompt of each segment: examples with their translations, an empty line behind each, then the segment."""
    languages = {"source_language": english_name(segments.source), "target_language": english_name(segments.target)}
    gap = "" if template[-1:].isspace() else " "
    examples = "".join(
        fill_in(template, {**languages, "text": text}) + gap + translation + 2 * LINE_BREAK
        for text, translation in segments.shots
    )
    return [examples + fill_in(template, {**languages, "text": text}) for text in segments.sources]


def scorers_of(target: str) -> dict[str, Any]:
    """Return sacrebleu's metrics for a target language, by the names of our columns.

    BLEU tokenizes as ``tokalign.languages.bleu_tokenizer`` says; TER splits Chinese and Japanese into characters; the rest is as
    sacrebleu's command line has it by default, with word n-grams in chrF (chrF++).
    """
    asian = base_code(target) in ("zh", "yue", "ja")
    return {
        "bleu": BLEU(tokenize=bleu_tokenizer(target)),
        "chrf": CHRF(word_order=2),
        "ter": TER(normalized=asian, asian_support=asian),
    }


def counts_of(
    hypotheses: Sequence[str], references: Sequence[str], target: str
) -> tuple[dict[str, list[list[float]]], dict[str, str]]:
    """Return what sacrebleu counts on each segment, and the signatures of its metrics.

    Args:
        hypotheses: translations, empty ones included.
        references: one for each.
        target: code of their language.

    Returns:
        ``bleu`` (10 numbers for each segment), ``chrf`` (24), ``ter`` (2) as ``tokalign.estimators`` wants them; signatures by
        name.

    Raises:
        ArtifactError: there are not as many translations as references.
    """
    if len(hypotheses) != len(references) or not references:
        raise ArtifactError(
            "translation: not the same segments",
            found=f"{len(hypotheses)} translations, {len(references)} references",
            expected="a translation, if an empty one, for every reference",
        )
    counts, signatures = {}, {}
    for name, scorer in scorers_of(target).items():
        counts[name] = [list(map(float, row)) for row in scorer._extract_corpus_statistics(list(hypotheses), [list(references)])]
        signatures[name] = scorer.get_signature().format()
    return counts, signatures


def sentence_bleu(row: Sequence[float]) -> float:
    """Return the BLEU of one segment in percent: only orders that it has n-grams of count (sacrebleu's ``effective_order``)."""
    correct, total = list(row[2:6]), list(row[6:])
    lengths = {"sys_len": int(row[0]), "ref_len": int(row[1])}
    return BLEU.compute_bleu(correct=correct, total=total, **lengths, smooth_method="exp", effective_order=True).score


def is_repetitive(text: str, language: str) -> bool:
    """Say whether fewer than ``REPETITIVE`` of a text's words differ; of pieces of characters in languages without spaces."""
    units: list[Any] = words_of(text, language)
    if not has_spaces(language):
        units = ["".join(units[i : i + CHARACTERS_OF_A_PIECE]) for i in range(len(units) - CHARACTERS_OF_A_PIECE + 1)]
    return len(set(units)) < REPETITIVE * len(units)


def is_copied(hypothesis: str, source: str, reference: str, languages: tuple[str, str]) -> bool:
    """Say whether a translation is in the source language, as far as its words tell.

    Args:
        hypothesis: the translation.
        source: what was translated.
        reference: the right translation.
        languages: codes of source and target; the words of two languages of which one has no spaces are characters.
    """
    unit = next((language for language in languages if not has_spaces(language)), languages[0])
    words, own, right = (words_of(text.lower(), unit) for text in (hypothesis, source, reference))
    foreign = set(own) - set(right)
    return bool(words) and sum(word in foreign for word in words) > COPIED * len(words)


def items_of(segments: Segments, condition: str, written: Sequence[Written]) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Return the items of one direction and decoding, column by column, and the signatures of the metrics.

    Args:
        segments: what was translated.
        condition: name of the decoding.
        written: what the model wrote, one for each segment; an empty one counts like any other.
    """
    hypotheses = [one_line(each.text) for each in written]
    counts, signatures = counts_of(hypotheses, segments.references, segments.target)
    lengths = [len(words_of(text, segments.target)) for text in hypotheses]
    wanted = [len(words_of(text, segments.target)) for text in segments.references]
    languages = (segments.source, segments.target)
    flags = {
        "empty": [not text for text in hypotheses],
        "repetitive": [is_repetitive(text, segments.target) for text in hypotheses],
        "copied": [is_copied(*texts, languages) for texts in zip(hypotheses, segments.sources, segments.references, strict=True)],
        "wrong_length": [
            bool(text) and not LENGTH_RATIOS[0] <= length / whole <= LENGTH_RATIOS[1]
            for text, length, whole in zip(hypotheses, lengths, wanted, strict=True)
        ],
    }
    flags["failed"] = [any(each) for each in zip(*flags.values(), strict=True)]
    flags["ended"] = [each.ended for each in written]
    count = len(segments.ids)
    columns: dict[str, list[Any]] = {
        "dataset": [segments.dataset] * count, "condition": [condition] * count, "language": [segments.target] * count,
        "domain": segments.domains, "id": segments.ids, **counts,
        "sentence_bleu": [sentence_bleu(row) for row in counts["bleu"]],
        "length": lengths, "reference_length": wanted, "tokens": [each.tokens for each in written],
        **{name: list(map(int, values)) for name, values in flags.items()},
        "prompt_cut": [int(each.prompt_cut) for each in written], "segments": [1] * count,
        "source": segments.sources, "reference": segments.references, "hypothesis": hypotheses,
    }  # fmt: skip
    return columns, signatures


MEASURES = (
    Measure("bleu", "bleu", ("bleu",), "%", "higher"),
    Measure("chrf++", "chrf", ("chrf",), "%", "higher"),
    Measure("ter", "ter", ("ter",), "%", "lower"),
    Measure("length_ratio", "ratio", ("length", "reference_length"), "of the reference", "neither"),
    Measure("sentence_bleu", "ratio", ("sentence_bleu", "segments"), "%", "higher", "item"),
    Measure("empty_rate", "ratio", ("empty", "segments"), "%", "lower", "item", 100),
    Measure("repetitive_rate", "ratio", ("repetitive", "segments"), "%", "lower", "item", 100),
    Measure("copied_rate", "ratio", ("copied", "segments"), "%", "lower", "item", 100),
    Measure("wrong_length_rate", "ratio", ("wrong_length", "segments"), "%", "lower", "item", 100),
    Measure("failure_rate", "ratio", ("failed", "segments"), "%", "lower", "item", 100),
    Measure("ended_rate", "ratio", ("ended", "segments"), "%", "higher", "item", 100),
    Measure("tokens_per_output", "ratio", ("tokens", "segments"), "tokens", "neither", "item"),
    Measure("chrf_delta", "chrf_delta", ("chrf", "bleu"), "%", "neither", "exploratory"),
)


def read(settings: TranslationSettings, testsets: Sequence[str | Path]) -> tuple[list[Segments], dict[str, str]]:
    """Read the directions of the test sets.

    Raises:
        ArtifactError: the items of a test set are missing.
    """
    found = [read_testset(path, "parallel") for path in testsets]
    named = {testset.name: testset for testset in found}
    missing = [direction.testset for direction in settings.directions if direction.testset not in named]
    if missing:
        raise ArtifactError(f"translation: no items of test set {missing[0]}", found=", ".join(named), mend="give its file")
    parts = [
        read_segments(named[direction.testset], direction.source, direction.target, settings.shots)
        for direction in settings.directions
    ]
    return parts, {"data": digest_of_testsets(found, testsets)}


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, parts: list[Segments], settings: TranslationSettings
) -> tuple[pa.Table, dict[str, dict[str, str]]]:
    """Translate all directions with all decodings.

    Returns:
        The items, and sacrebleu's signatures for each dataset.
    """
    writer = Writer(
        model,
        tokenizer,
        max_new_tokens=settings.max_new_tokens,
        batch_tokens=settings.batch_tokens,
        document_start=settings.document_start,
        stop=LINE_BREAK,
    )
    columns: dict[str, list[Any]] = {}
    signatures = {}
    for segments in parts:
        prompts = prompts_of(segments, settings.prompt)
        names = [f"{segments.dataset} {name}" for name in segments.ids]
        for condition, values in settings.decodings.items():
            log.info("%s, %s: %d segments", segments.dataset, condition, len(prompts))
            written = writer(names, prompts, Decoding(**values.plain()))
            found, signatures[segments.dataset] = items_of(segments, condition, written)
            for name, values_of in found.items():
                columns.setdefault(name, []).extend(values_of)
    return pa.table(columns), signatures


def report(
    measured: tuple[pa.Table, dict[str, dict[str, str]]], parts: list[Segments], settings: TranslationSettings, seconds: float
) -> Findings:
    """Return the metrics of each direction and decoding."""
    items, signatures = measured
    metrics = metrics_of(items, MEASURES, "segments")
    for metric in metrics:
        if metric["metric"] == "chrf++":
            log.info("%s, %s, %s: chrF++ %.2f", metric["dataset"], metric["condition"], metric["domain"], metric["value"])
    more = {
        "signatures": signatures,
        "examples": {segments.dataset: segments.examples for segments in parts},
        "prompts_cut": int(np.sum(items["prompt_cut"].to_numpy())),
    }
    return Findings(items, metrics, more)


SUITE = Suite(read, measure, report, libraries=("sacrebleu",))
