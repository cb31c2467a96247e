"""Free text that a model writes after prompts: diversity, repetition, length."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sacrebleu.metrics import BLEU
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokalign.common.errors import ArtifactError
from tokalign.config.suites import GenerationSettings
from tokalign.evaluation.data.heldout import read_heldout
from tokalign.evaluation.data.testsets import read_testset
from tokalign.evaluation.results import Measure, digest_of, groups_of, metrics_of
from tokalign.evaluation.statistics.bootstrap import JACKKNIFE_GROUPS, jackknife_interval
from tokalign.evaluation.suite import Findings, Suite
from tokalign.models.writing import Decoding, Writer, Written
from tokalign.text.languages import bleu_tokenizer, words_of

log = logging.getLogger(__name__)

ENOUGH_PROMPTS = 1000
"""With fewer prompts a result is exploratory, as single texts decide it."""
DISTINCT_ORDERS = (1, 2, 3)
REPEATED_ORDER = 4
BLEU_ORDERS = 4
REFERENCES_SEED = 42
"""Seed of the draw of reference texts for self-BLEU."""
HELD_OUT = "heldout"


# ---- prompts ----


def beginning(text: str, characters: int) -> str:
    """Return the beginning of a document as a prompt: whole words, at most ``characters`` and half of the text.

    If the second half of that has no whitespace (as in Chinese), it ends between any two characters.
    """
    most = min(characters, len(text) // 2)
    if not text[most : most + 1].isspace():
        most = next((i for i in range(most - 1, most // 2, -1) if text[i].isspace()), most)
    return text[:most].rstrip()


def hashed(name: str) -> int:
    """Return a 64-bit number that depends only on a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def choose_prompts(rows: list[dict[str, str]], most: int) -> list[dict[str, str]]:
    """Choose prompts by the hash of their ids, equally many per language where there are enough.

    Args:
        rows: rows with ``id``, ``text``, ``language`` and ``domain``.
        most: most prompts.

    Returns:
        Rows, sorted by language and hash; the same for every model, as they depend only on the rows.
    """
    languages: dict[str, list[dict[str, str]]] = {}
    for row in sorted(rows, key=lambda row: (row["language"], hashed(row["id"]), row["id"])):
        languages.setdefault(row["language"], []).append(row)
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*languages.values()))
    chosen = list(itertools.islice((row for row in rounds if row is not None), most))
    return sorted(chosen, key=lambda row: (row["language"], hashed(row["id"]), row["id"]))


def read_prompts(path: str | Path, settings: GenerationSettings) -> list[dict[str, str]]:
    """Read the prompts from a test set, or from the beginnings of held-out documents.

    Args:
        path: ``items.parquet`` of a test set of the kind ``prompts``, or held-out documents.
        settings: which prompts, how many, and how long.

    Returns:
        Rows with ``id``, ``text``, ``language`` and ``domain``.

    Raises:
        ArtifactError: the file is missing, is not of that kind, or has no prompt.
    """
    if settings.testset is None:
        rows = [
            {**row, "text": beginning(row["text"], settings.prompt_characters)}
            for row in read_heldout(path).select(["id", "text", "language", "domain"]).to_pylist()
        ]
    else:
        testset = read_testset(path, "prompts")
        rows = [{**row, "language": testset.language, "domain": testset.domain} for row in testset.items.to_pylist()]
    filled = [row for row in rows if row["text"].strip()]
    if len(filled) < len(rows):
        log.warning(
            "warning: %d of %d prompts have no text and are left out, for every model", len(rows) - len(filled), len(rows)
        )
    chosen = choose_prompts(filled, settings.prompts)
    if not chosen:
        raise ArtifactError(f"{path}: no prompts", found=f"{len(rows)} rows, none with text", expected="texts to go on from")
    if len(chosen) < ENOUGH_PROMPTS:
        log.warning("warning: %d prompts: results are exploratory below %d", len(chosen), ENOUGH_PROMPTS)
    return chosen


# ---- n-grams ----


def ngrams_of(units: Sequence[Hashable], order: int) -> list[tuple[Hashable, ...]]:
    """Return the n-grams of a sequence, in order."""
    return list(zip(*(units[start:] for start in range(order)), strict=False))


def repetition_within(units: Sequence[Hashable]) -> float:
    """Return the share of a text's 4-grams that occurred in it before; 0 if it has none."""
    grams = ngrams_of(units, REPEATED_ORDER)
    return (len(grams) - len(set(grams))) / len(grams) if grams else 0.0


def _pooled(texts: Sequence[Sequence[Hashable]], groups: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the n-grams of many texts.

    Args:
        texts: units of each text.
        groups: number of each text's group, from 0 on, int64, shape (texts,).
        order: length of the n-grams.

    Returns:
        For each pair of n-gram and group: number of the n-gram, number of the group, and count, int64, shape (pairs,).
    """
    numbers: dict[tuple[Hashable, ...], int] = {}
    codes, of_group = [], []
    for units, group in zip(texts, groups.tolist(), strict=True):
        for gram in ngrams_of(units, order):
            codes.append(numbers.setdefault(gram, len(numbers)))
            of_group.append(group)
    width = int(groups.max(initial=0)) + 1
    pairs, times = np.unique(np.array(codes, dtype=np.int64) * width + np.array(of_group, dtype=np.int64), return_counts=True)
    return pairs // width, pairs % width, times


def distinct_ngrams(texts: Sequence[Sequence[Hashable]], groups: np.ndarray, order: int) -> np.ndarray:
    """Return distinct-n (Li et al. 2016): distinct n-grams over all n-grams of all texts together.

    Args:
        texts: units of each text.
        groups: number of each text's group, from 0 on, int64, shape (texts,).
        order: length of the n-grams.

    Returns:
        The value of all texts, then the values with one group left out, float64, shape (1 + groups,); NaN without n-grams.
    """
    grams, of_group, times = _pooled(texts, groups, order)
    count = int(groups.max(initial=0)) + 1
    whole = np.bincount(grams, weights=times)
    alone = np.bincount(of_group[times == whole[grams]], minlength=count)  # n-grams of no other group
    different = len(whole) - np.concatenate([[0], alone])
    total = times.sum() - np.concatenate([[0], np.bincount(of_group, weights=times, minlength=count)])
    return np.divide(different, total, out=np.full(count + 1, np.nan), where=total > 0)


def repetition_rate(texts: Sequence[Sequence[Hashable]], groups: np.ndarray) -> np.ndarray:
    """Return the share of distinct 4-grams of all texts that occur more than once [tokalign-baseline].

    Args:
        texts: units of each text.
        groups: number of each text's group, from 0 on, int64, shape (texts,).

    Returns:
        The value of all texts, then the values with one group left out, float64, shape (1 + groups,); NaN without 4-grams.
    """
    grams, of_group, times = _pooled(texts, groups, REPEATED_ORDER)
    count = int(groups.max(initial=0)) + 1
    whole = np.bincount(grams, weights=times)
    left = whole[grams] - times
    gone = np.bincount(of_group[left == 0], minlength=count)
    single = np.bincount(of_group[(whole[grams] > 1) & (left <= 1)], minlength=count)  # repeated, but not without this group
    different = len(whole) - np.concatenate([[0], gone])
    repeated = (whole > 1).sum() - np.concatenate([[0], single])
    return np.divide(repeated, different, out=np.full(count + 1, np.nan), where=different > 0)


# ---- self-BLEU ----


def self_bleu(texts: Sequence[str], names: Sequence[str], language: str, references: int) -> np.ndarray:
    """Return the BLEU of each text with others as references (Zhu et al. 2018); high if texts are similar.

    Sentence BLEU as in sacrebleu with ``effective_order`` and several references. If there are more than ``references``
    other texts, some are drawn with a seed that depends only on the text's name.

    Args:
        texts: at least one.
        names: names of the texts.
        language: language of all texts.
        references: most references of a text.

    Returns:
        Percent, float64, shape (texts,); 0 for an empty text, NaN for a single text.
    """
    tokenize = BLEU(tokenize=bleu_tokenizer(language)).tokenizer
    tokens = [tokenize(text.rstrip()).split() for text in texts]
    grams = [Counter(gram for order in range(1, BLEU_ORDERS + 1) for gram in ngrams_of(each, order)) for each in tokens]
    lengths = np.array([len(each) for each in tokens])
    values = np.full(len(texts), np.nan)
    for index, name in enumerate(names):
        others = np.delete(np.arange(len(texts)), index)
        if not len(others):
            continue
        if len(others) > references:
            others = np.random.default_rng([REFERENCES_SEED, hashed(name)]).choice(others, references, replace=False)
        most: dict[tuple[Hashable, ...], int] = {}
        for other in others:
            for gram, times in grams[other].items():
                if gram in grams[index] and times > most.get(gram, 0):
                    most[gram] = times
        correct, total = [0] * BLEU_ORDERS, [0] * BLEU_ORDERS
        for gram, times in grams[index].items():
            total[len(gram) - 1] += times
            correct[len(gram) - 1] += min(times, most.get(gram, 0))
        nearest = min(lengths[others].tolist(), key=lambda length: (abs(length - lengths[index]), length))
        values[index] = BLEU.compute_bleu(
            correct=correct, total=total, sys_len=int(lengths[index]), ref_len=nearest, smooth_method="exp", effective_order=True
        ).score
    return values


# ---- the suite ----


def items_of(
    dataset: str, condition: str, prompts: Sequence[dict[str, str]], written: Sequence[Written], references: int
) -> dict[str, list[Any]]:
    """Return the items of one decoding, column by column; an empty text counts like any other."""
    count = len(prompts)
    languages, ids = [row["language"] for row in prompts], [row["id"] for row in prompts]
    units = [words_of(each.text, language) for each, language in zip(written, languages, strict=True)]
    likeness = np.full(count, np.nan)
    for language in sorted(set(languages)):
        some = [i for i, own in enumerate(languages) if own == language]
        likeness[some] = self_bleu([written[i].text for i in some], [ids[i] for i in some], language, references)
    compared = ~np.isnan(likeness)
    return {
        "dataset": [dataset] * count, "condition": [condition] * count, "language": languages,
        "domain": [row["domain"] for row in prompts], "id": ids, "outputs": [1] * count,
        "words": [len(each) for each in units], "characters": [len(each.text) for each in written],
        "bytes": [len(each.text.encode()) for each in written], "tokens": [each.tokens for each in written],
        "ended": [int(each.ended) for each in written], "empty": [int(not each.text.strip()) for each in written],
        "repetition": [repetition_within(each) for each in units], "self_bleu": np.nan_to_num(likeness).tolist(),
        "compared": compared.astype(int).tolist(), "prompt_cut": [int(each.prompt_cut) for each in written],
        "prompt": [row["text"] for row in prompts], "output": [each.text for each in written],
    }  # fmt: skip


MEASURES = (
    Measure("repetition_within", "ratio", ("repetition", "outputs"), "%", "lower", "item", 100),
    Measure("self_bleu", "ratio", ("self_bleu", "compared"), "%", "lower", "item"),
    Measure("words_per_output", "ratio", ("words", "outputs"), "words", "neither", "item"),
    Measure("characters_per_output", "ratio", ("characters", "outputs"), "characters", "neither", "item"),
    Measure("bytes_per_output", "ratio", ("bytes", "outputs"), "bytes", "neither", "item"),
    Measure("tokens_per_output", "ratio", ("tokens", "outputs"), "tokens", "neither", "item"),
    Measure("ended_rate", "ratio", ("ended", "outputs"), "%", "neither", "item", 100),
    Measure("empty_rate", "ratio", ("empty", "outputs"), "%", "lower", "item", 100),
)
"""Means over outputs, with bootstrap intervals."""


def pooled_metrics(items: pa.Table) -> list[dict[str, Any]]:
    """Return distinct-1, -2, -3 and the repetition rate of each group of items, with jackknife intervals.

    Outputs are assigned to ``JACKKNIFE_GROUPS`` by the hash of their id, so that two models have the same groups.
    """
    outputs = [words_of(*pair) for pair in zip(items["output"].to_pylist(), items["language"].to_pylist(), strict=True)]
    parts = np.array([hashed(name) % JACKKNIFE_GROUPS for name in items["id"].to_pylist()])
    found = []
    for (dataset, condition, language, domain), chosen in groups_of(items):
        texts = [outputs[i] for i in chosen]
        groups = np.unique(parts[chosen], return_inverse=True)[1]
        values = {f"distinct_{order}": (distinct_ngrams(texts, groups, order), "higher") for order in DISTINCT_ORDERS}
        values["repetition_rate"] = (repetition_rate(texts, groups), "lower")
        for metric, (value, better) in values.items():
            whole, replicates = 100 * value[0], 100 * value[1:]
            known = len(replicates) > 1 and bool(np.isfinite(replicates).all())
            found.append(
                {
                    "metric": metric,
                    "dataset": dataset,
                    "condition": condition,
                    "language": language,
                    "domain": domain,
                    "value": float(whole) if np.isfinite(whole) else None,
                    "ci95": jackknife_interval(float(whole), replicates) if known else None,
                    "n": len(chosen),
                    "items": "outputs",
                    "unit": "%",
                    "better": better,
                    "level": "corpus",
                    **({"replicates": {"kind": "jackknife", "values": replicates.tolist()}} if known else {}),
                }
            )
    return found


def read(settings: GenerationSettings, prompts: str | Path) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Read the prompts; see :func:`read_prompts`."""
    return read_prompts(prompts, settings), {"data": digest_of(prompts)}


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[dict[str, str]], settings: GenerationSettings
) -> pa.Table:
    """Let the model continue all prompts with all decodings, measure each text, and return the items."""
    writer = Writer(
        model,
        tokenizer,
        max_new_tokens=settings.max_new_tokens,
        batch_tokens=settings.batch_tokens,
        document_start=settings.document_start,
    )
    columns: dict[str, list[Any]] = {}
    for condition, values in settings.decodings.items():
        log.info("%s: %d prompts", condition, len(prompts))
        written = writer([row["id"] for row in prompts], [row["text"] for row in prompts], Decoding(**values.plain()))
        found = items_of(settings.testset or HELD_OUT, condition, prompts, written, settings.self_bleu_references)
        for name, measured in found.items():
            columns.setdefault(name, []).extend(measured)
    return pa.table(columns)


def report(items: pa.Table, prompts: list[dict[str, str]], settings: GenerationSettings, seconds: float) -> Findings:
    """Return the metrics of each decoding, for all prompts and each language and domain."""
    more = {
        "prompts": len(prompts),
        "exploratory": len(prompts) < ENOUGH_PROMPTS,
        "prompts_cut": int(np.sum(items["prompt_cut"].to_numpy())),
        "self_bleu": {"references": settings.self_bleu_references, "seed": REFERENCES_SEED},
        "jackknife_groups": JACKKNIFE_GROUPS,
    }
    return Findings(items, pooled_metrics(items) + metrics_of(items, MEASURES, "outputs"), more)


SUITE = Suite(read, measure, report, libraries=("sacrebleu",))
