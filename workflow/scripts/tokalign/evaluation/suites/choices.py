"""Multiple choice: choices are scored by their log-likelihood after the question, as in lm-evaluation-harness.

A choice's tokens are those that the encoding of prompt, separator and choice has beyond the encoding of the prompt. White space
at the end of the prompt is scored with the choices, as is a token that crosses the boundary. A prompt longer than the model's
window loses its beginning; an answer is never cut. The first of equal scores wins. Batching changes scores only by float noise;
equal choices of a question are scored once, so that their scores are equal.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokalign.common.errors import ArtifactError
from tokalign.common.progress import Progress
from tokalign.config.suites import ChoicesSettings
from tokalign.evaluation.data.testsets import Testset, digest_of_testsets, read_testset
from tokalign.evaluation.results import Measure, metrics_of
from tokalign.evaluation.suite import Findings, Suite
from tokalign.models.loading import check_fit, context_length, start_token
from tokalign.models.scoring import Scorer, by_length

log = logging.getLogger(__name__)

HOLE = re.compile(r"\{(question|context)\}")
CONDITIONS = ("raw", "bytes", "characters")
"""How the log-likelihoods of choices are normalized: not at all (``acc`` of lm-evaluation-harness), by the UTF-8 bytes of the
choice (``acc_bytes``), by its characters (``acc_norm``)."""


@dataclass(frozen=True)
class Request:
    """A choice to be scored.

    Attributes:
        tokens: tokens of start, prompt and choice, int64, cut on the left to the model's window.
        first: index of the first scored token; all later ones are scored.
        cut: number of tokens cut off.
        merged: whether the prompt's tokens change when the choice follows, as a token crosses the boundary.
    """

    tokens: np.ndarray
    first: int
    cut: int
    merged: bool

    @property
    def key(self) -> tuple[int, bytes]:
        """Key that equal requests share."""
        return self.first, self.tokens.tobytes()


def fill(prompt: str, question: str, context: str) -> str:
    """Return a prompt with a question and its context; braces in their text are kept."""
    values = {"question": question, "context": context}
    return HOLE.sub(lambda hole: values[hole[1]], prompt)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    continuations: Sequence[str],
    start: int | None,
    window: int | None,
    where: str,
) -> list[Request]:
    """Encode the choices of a question.

    Args:
        tokenizer: tokenizer of the model.
        prompt: text before the choices.
        continuations: separator and text of each choice.
        start: id before the prompt, or ``None``.
        window: most tokens that the model reads, or ``None``; the last token of a sequence is not read, only predicted.
        where: the question, for messages.

    Returns:
        One request per choice.

    Raises:
        ArtifactError: a choice has no tokens, or more than the window.
    """
    stem = prompt.rstrip()
    texts = [stem, *(prompt + continuation for continuation in continuations)]
    own, *wholes = tokenizer(texts, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
    prefix = [] if start is None else [start]
    requests = []
    for continuation, whole in zip(continuations, wholes, strict=True):
        shared = next((i for i, (a, b) in enumerate(zip(own, whole, strict=False)) if a != b), min(len(own), len(whole)))
        tokens = np.array(prefix + whole, dtype=np.int64)
        first = len(prefix) + shared
        scored = len(tokens) - first
        if not scored or not first:
            raise ArtifactError(
                f"{where}: a choice cannot be scored", found=f"{continuation!r}: {scored} tokens after {first}",
                expected="at least one token after one other", mend="complete the test set, or choose another document_start",
            )  # fmt: skip
        if window is not None and scored > window:
            raise ArtifactError(
                f"{where}: a choice is longer than the model's context", found=f"{scored} tokens: {continuation[:60]!r}",
                expected=f"at most {window}, as an answer is never cut", mend="leave the question out of the test set",
            )  # fmt: skip
        cut = 0 if window is None else max(0, len(tokens) - (window + 1))
        requests.append(Request(tokens[cut:], first - cut, cut, shared < len(own)))
    return requests


def batches(requests: Sequence[Request], batch_tokens: int) -> Iterator[list[int]]:
    """Yield batches of request indices by length, longest first; rows x longest row is at most ``batch_tokens``."""
    yield from by_length([len(request.tokens) for request in requests], most_tokens=batch_tokens)


def score(model: PreTrainedModel, requests: Sequence[Request], batch_tokens: int) -> np.ndarray:
    """Return the log-likelihood of each request; equal requests, and sequences with equal input, run once.

    Args:
        model: model in evaluation mode, on its device.
        requests: requests to score.
        batch_tokens: most tokens in one forward pass.

    Returns:
        Nats, float64, shape (requests,); not finite where the model's output is not.
    """
    number: dict[tuple[int, bytes], int] = {}
    places = [number.setdefault(request.key, len(number)) for request in requests]
    different = [requests[i] for i in np.unique(places, return_index=True)[1]]
    rows_of: dict[bytes, list[int]] = {}
    for i, request in enumerate(different):
        rows_of.setdefault(request.tokens[:-1].tobytes(), []).append(i)
    read = list(rows_of.values())
    scorer = Scorer(model)
    sums = np.zeros(len(different), dtype=np.float64)
    progress = Progress("choices scored", len(different), "choices")
    for batch in batches([different[same[0]] for same in read], scorer.batch_tokens(batch_tokens)):
        chosen = [(row, i) for row, place in enumerate(batch) for i in read[place]]
        lengths = [len(different[i].tokens) - different[i].first for _, i in chosen]
        nats, _ = scorer(
            [different[read[place][0]].tokens for place in batch],
            np.repeat([row for row, _ in chosen], lengths),
            np.concatenate([np.arange(different[i].first, len(different[i].tokens)) for _, i in chosen]),
            labels=np.concatenate([different[i].tokens[different[i].first :] for _, i in chosen]),
        )
        sums[[i for _, i in chosen]] = -np.add.reduceat(nats, np.cumsum([0, *lengths[:-1]]))
        progress.advance(len(chosen))
    progress.close()
    return sums[places]


def predictions(scores: np.ndarray, choices: Sequence[str]) -> dict[str, int]:
    """Return the predicted choice under each of ``CONDITIONS``: the first of the best ones.

    Args:
        scores: log-likelihoods, shape (choices,).
        choices: their texts, none empty.
    """
    lengths = {"raw": [1] * len(choices), "bytes": [len(c.encode()) for c in choices], "characters": [len(c) for c in choices]}
    return {condition: int(np.argmax(scores / np.array(lengths[condition], dtype=np.float64))) for condition in CONDITIONS}


def answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, testset: Testset, settings: ChoicesSettings
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Answer the questions of a test set.

    Args:
        model: model in evaluation mode, on its device.
        tokenizer: its tokenizer.
        testset: test set of the kind ``choices``.
        settings: prompt, separator, document start and batch size.

    Returns:
        A row per question and condition (see :func:`report`), and a summary: ``questions``, ``gold`` (questions per index of
        the right answer), ``confusion`` (per condition: rows are right answers, columns are predictions), ``chance``,
        ``cut_questions``, ``cut_tokens``, ``merged_choices`` and ``ties`` (questions with several best choices, raw).

    Raises:
        ArtifactError: the tokenizer does not fit, a choice cannot be scored, or a score is not finite.
        ConfigurationError: the tokenizer has no such start token.
    """
    check_fit(model, tokenizer)
    start, window = start_token(tokenizer, settings.document_start), context_length(model)
    questions = testset.items.to_pylist()
    if "{context}" not in settings.prompt and any(row["context"] for row in questions):
        log.warning("warning: %s: questions have a context, but the prompt has no {context}", testset.name)
    encoded = [
        encode(
            tokenizer, fill(settings.prompt, row["question"], row["context"]),
            [settings.separator + choice for choice in row["choices"]], start, window, f"{testset.name}: question {row['id']}",
        )
        for row in questions
    ]  # fmt: skip
    cut = [max(request.cut for request in requests) for requests in encoded]
    if any(cut):
        log.warning(
            "warning: %s: %d prompts are longer than the model's context; their beginning is cut off",
            testset.name,
            sum(map(bool, cut)),
        )
    scores = score(model, [request for requests in encoded for request in requests], settings.batch_tokens)
    width = max(len(row["choices"]) for row in questions)
    confusion = {condition: np.zeros((width, width), dtype=np.int64) for condition in CONDITIONS}
    rows: list[dict[str, Any]] = []
    begin = ties = 0
    for row, requests in zip(questions, encoded, strict=True):
        own = scores[begin : begin + len(requests)]
        begin += len(requests)
        if not np.isfinite(own).all():
            worst = int(np.flatnonzero(~np.isfinite(own))[0])
            raise ArtifactError(
                f"{model.name_or_path}: the score of {testset.name}, question {row['id']}, choice {worst} is not a finite number",
                found=own[worst], expected="finite logits",
                mend="look for NaN in the weights (training diverged?), or evaluate with precision: float32",
            )  # fmt: skip
        right = row["choices"][row["answer"]]
        ties += int((own == own.max()).sum() > 1)
        for condition, taken in predictions(own, row["choices"]).items():
            confusion[condition][row["answer"], taken] += 1
            rows.append(
                {
                    "dataset": testset.name, "condition": condition, "language": testset.language, "domain": testset.domain,
                    "id": row["id"], "correct": int(taken == row["answer"]), "questions": 1, "chance": 1 / len(row["choices"]),
                    "answer_nats": -own[row["answer"]], "answer_bytes": len(right.encode()), "answer": row["answer"],
                    "prediction": taken, "choice_nats": -own, "question": row["question"], "choices": row["choices"],
                }
            )  # fmt: skip
    summary = {
        "questions": len(questions), "chance": float(np.mean([1 / len(row["choices"]) for row in questions])),
        "gold": confusion["raw"].sum(1).tolist(), "confusion": {name: counts.tolist() for name, counts in confusion.items()},
        "cut_questions": sum(map(bool, cut)), "cut_tokens": int(sum(cut)), "ties": ties,
        "merged_choices": sum(request.merged for requests in encoded for request in requests),
    }  # fmt: skip
    return rows, summary


ACCURACY = (
    Measure("accuracy", "ratio", ("correct", "questions"), "share", "higher", level="item"),
    Measure("chance", "ratio", ("chance", "questions"), "share", "neither", level="item"),
)
"""For each condition: the share of right answers, and the share expected by guessing."""
LIKELIHOOD = (
    Measure("answer_bits_per_byte", "ratio", ("answer_nats", "answer_bytes"), "bits/byte", "lower", scale=1 / math.log(2)),
)
"""For the condition ``raw``: bits of separator and right answer over the bytes of the right answer."""


def read(settings: ChoicesSettings, testsets: Sequence[str | Path]) -> tuple[list[Testset], dict[str, str]]:
    """Read the test sets.

    Raises:
        ArtifactError: they are not the test sets of the settings.
    """
    found = [read_testset(path, "choices") for path in testsets]
    if [testset.name for testset in found] != list(settings.testsets):
        raise ArtifactError(
            "choices: other test sets than the settings name", found=", ".join(testset.name for testset in found),
            expected=", ".join(settings.testsets), mend="prepare the test sets again",
        )  # fmt: skip
    return found, {"data": digest_of_testsets(found, testsets)}


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, testsets: list[Testset], settings: ChoicesSettings
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Answer all test sets.

    Returns:
        The rows, and the summary of each test set; see :func:`answer`.
    """
    rows: list[dict[str, Any]] = []
    summaries = {}
    for testset in testsets:
        log.info("%s: %d questions", testset.name, testset.items.num_rows)
        found, summaries[testset.name] = answer(model, tokenizer, testset, settings)
        rows += found
    return rows, summaries


def report(
    measured: tuple[list[dict[str, Any]], dict[str, Any]], testsets: list[Testset], settings: ChoicesSettings, seconds: float
) -> Findings:
    """Return the items, a row per question and condition, and the metrics.

    Columns: ``correct``, ``questions`` (1), ``chance``, ``answer_nats``, ``answer_bytes``, ``answer`` and ``prediction``
    (indices), ``choice_nats`` (negative log-likelihood of each choice), ``question`` and ``choices``.
    """
    rows, summaries = measured
    items = pa.Table.from_pylist(rows)
    raw = items.filter(pc.equal(items["condition"], "raw"))
    metrics = metrics_of(items, ACCURACY, "questions") + metrics_of(raw, LIKELIHOOD, "questions")
    for metric in metrics:
        if metric["metric"] == "accuracy":
            log.info("%s, %s: accuracy %.4f", metric["dataset"], metric["condition"], metric["value"])
    return Findings(items, metrics, {"testsets": summaries})


SUITE = Suite(read, measure, report)
