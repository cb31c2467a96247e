"""Translation by prompts: a model continues after a segment, and its text up to the line break is the translation.

Every segment of a test set is translated and scored, including empty translations. BLEU, chrF++ and TER are sacrebleu's: its
counts per segment are stored, and the metric is a function of their sums.
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
from tokalign.config.suites import TranslationSettings
from tokalign.evaluation.data.testsets import Testset, digest_of_testsets, read_testset
from tokalign.evaluation.results import Measure, metrics_of
from tokalign.evaluation.suite import Findings, Suite
from tokalign.models.writing import Decoding, Writer, Written
from tokalign.text.languages import base_code, bleu_tokenizer, english_name, has_spaces, words_of

log = logging.getLogger(__name__)

LINE_BREAK = "\n"
REPETITIVE = 0.4
"""A translation with a smaller share of distinct words is repetitive [tokalign-baseline]."""
LENGTH_RATIOS = (0.3, 3.0)
"""A translation whose length over that of its reference is outside this range failed [tokalign-baseline]."""
COPIED = 0.5
"""A translation is copied if a greater share of its words is in the source but not in the reference."""
CHARACTERS_OF_A_PIECE = 4
"""Length of the pieces that count as words for repetition in languages without spaces."""


@dataclass(frozen=True)
class Segments:
    """The segments of one direction of a test set, without those used as examples.

    Attributes:
        dataset: ``TESTSET:SOURCE-TARGET``.
        source: code of the source language.
        target: code of the target language.
        ids: ids of the segments.
        sources: source texts, each one line.
        references: their translations.
        domains: kinds of text.
        shots: pairs of source and reference used as examples in the prompt.
        examples: ids of the examples.
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
    """Replace line breaks by spaces: a segment is one line, in prompts and for sacrebleu."""
    return " ".join(text.splitlines()).strip()


def read_segments(testset: Testset, source: str, target: str, shots: int) -> Segments:
    """Return one direction of a parallel test set.

    Args:
        testset: test set with a column per language.
        source: source language.
        target: target language.
        shots: number of segments at the end to use as examples.

    Raises:
        ArtifactError: a language is missing, or a segment has no text.
        ConfigurationError: no segment is left besides the examples.
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
    """Fill the placeholders ``{name}`` of a template; braces in the values are text."""
    holes = "|".join(map(re.escape, values))
    return re.sub("{(" + holes + ")}", lambda match: values[match[1]], template)


def prompts_of(segments: Segments, template: str) -> list[str]:
    """Return the prompt of each segment: examples with translations, each followed by an empty line, then the segment."""
    languages = {"source_language": english_name(segments.source), "target_language": english_name(segments.target)}
    gap = "" if template[-1:].isspace() else " "
    examples = "".join(
        fill_in(template, {**languages, "text": text}) + gap + translation + 2 * LINE_BREAK
        for text, translation in segments.shots
    )
    return [examples + fill_in(template, {**languages, "text": text}) for text in segments.sources]


def scorers_of(target: str) -> dict[str, Any]:
    """Return sacrebleu's metrics for a target language, by the names of our columns.

    BLEU uses the tokenizer of ``tokalign.text.languages.bleu_tokenizer``; TER splits Chinese and Japanese into characters;
    otherwise the defaults of sacrebleu's command line hold, with word n-grams in chrF (chrF++).
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
    """Return sacrebleu's counts for each segment, and the signatures of its metrics.

    Args:
        hypotheses: translations, including empty ones.
        references: one for each translation.
        target: code of the target language.

    Returns:
        ``bleu`` (10 numbers per segment), ``chrf`` (24), ``ter`` (2) for the estimators of
        :mod:`tokalign.evaluation.statistics.estimators`; signatures by name.

    Raises:
        ArtifactError: the numbers of translations and references differ, or are 0.
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
    """Return the BLEU of one segment in percent; orders without n-grams are ignored (sacrebleu's ``effective_order``)."""
    correct, total = list(row[2:6]), list(row[6:])
    lengths = {"sys_len": int(row[0]), "ref_len": int(row[1])}
    return BLEU.compute_bleu(correct=correct, total=total, **lengths, smooth_method="exp", effective_order=True).score


def is_repetitive(text: str, language: str) -> bool:
    """Return whether the share of distinct words is below ``REPETITIVE``; without spaces, pieces of characters count."""
    units: list[Any] = words_of(text, language)
    if not has_spaces(language):
        units = ["".join(units[i : i + CHARACTERS_OF_A_PIECE]) for i in range(len(units) - CHARACTERS_OF_A_PIECE + 1)]
    return len(set(units)) < REPETITIVE * len(units)


def is_copied(hypothesis: str, source: str, reference: str, languages: tuple[str, str]) -> bool:
    """Return whether a translation is a copy of the source, judged by shared words.

    Args:
        hypothesis: the translation.
        source: the source text.
        reference: the right translation.
        languages: codes of source and target; if either language has no spaces, characters count as words.
    """
    unit = next((language for language in languages if not has_spaces(language)), languages[0])
    words, own, right = (words_of(text.lower(), unit) for text in (hypothesis, source, reference))
    foreign = set(own) - set(right)
    return bool(words) and sum(word in foreign for word in words) > COPIED * len(words)


def items_of(segments: Segments, condition: str, written: Sequence[Written]) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Return the items of one direction and decoding, column by column, and the signatures of the metrics.

    Args:
        segments: the segments.
        condition: name of the decoding.
        written: the model's text for each segment; an empty one counts like any other.
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
