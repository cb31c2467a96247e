"""Score documents or questions in one way, in a separate process, so that the peak memory is only that way's.

Prints a line of JSON: seconds of scoring, processor seconds, the value found, and the memory that scoring added at its peak.
Model and input are loaded before, and the model reads a few tokens, so that its weights are in memory.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import common  # noqa: F401 - puts the library on the path
import torch
from tokalign.evaluation.suites.choices import encode, score
from tokalign.evaluation.suites.perplexity import PerplexitySettings, score_documents
from tokalign.evaluation.suites.tasks.harness_model import HarnessModel
from tokalign.models.loading import load_for_evaluation
from tokalign.models.scoring import Scorer
from tokalign.tokenizers.loading import load_tokenizer
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

BATCH_TOKENS = 8192
"""Batch tokens of ours: the default of the suites."""
BATCH = 16
"""Sequences per batch of the harness: the default of its suite here, about as many tokens as ours."""


def requests(kind: str, texts: list[tuple[str, ...]]) -> list[Any]:
    """Return texts as requests of the harness."""
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, text, number) for number, text in enumerate(texts)]


def documents_ours(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], window: int) -> float:
    """Score like evaluate_perplexity; return nats."""
    settings = PerplexitySettings(window=window, stride=window, batch_tokens=BATCH_TOKENS, precision="float32")
    return float(score_documents(model, tokenizer, [str(number) for number in range(len(texts))], texts, settings)[0].sum())


def documents_one_by_one(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], window: int) -> float:
    """Score by a plain loop over documents, each with itself as labels; return nats."""
    nats = 0.0
    for text in texts:
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        with torch.no_grad():
            nats += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
    return nats


def documents_harness(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], window: int) -> float:
    """Score with the model class of lm-evaluation-harness; return nats."""
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(
        pretrained=model, tokenizer=tokenizer, batch_size=BATCH, max_length=window, prefix_token_id=tokenizer.eos_token_id,
        add_bos_token=False,
    )  # fmt: skip
    return -sum(lm.loglikelihood_rolling(requests("loglikelihood_rolling", [(text,) for text in texts]), disable_tqdm=True))


def accuracy(scores: list[float], questions: list[dict[str, Any]]) -> float:
    """Return the share of questions whose right choice has the highest score."""
    right, begin = 0, 0
    for question in questions:
        own = scores[begin : begin + len(question["choices"])]
        right += own.index(max(own)) == question["answer"]
        begin += len(own)
    return right / len(questions)


def pairs(questions: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return prompt and choice for every choice of every question."""
    return [(f"Question: {each['question']}\nAnswer:", f" {choice}") for each in questions for choice in each["choices"]]


def questions_ours(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: list[dict[str, Any]]) -> float:
    """Answer like answer_choices; return the accuracy."""
    asked = [
        one
        for each in questions
        for one in encode(
            tokenizer,
            f"Question: {each['question']}\nAnswer:",
            [f" {choice}" for choice in each["choices"]],
            None,
            None,
            "question",
        )
    ]
    return accuracy(score(model, asked, BATCH_TOKENS).tolist(), questions)


def questions_tasks(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: list[dict[str, Any]]) -> float:
    """Answer like answer_tasks; return the accuracy."""
    lm = HarnessModel(model, tokenizer, BATCH)
    return accuracy(
        [value for value, _ in lm.loglikelihood(requests("loglikelihood", pairs(questions)), disable_tqdm=True)], questions
    )


def questions_one_by_one(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: list[dict[str, Any]]) -> float:
    """Answer by a plain loop over choices, with the logits of all tokens; return the accuracy."""
    scores = []
    for prompt, choice in pairs(questions):
        ids = torch.tensor([tokenizer(prompt + choice)["input_ids"]])
        first = len(tokenizer(prompt)["input_ids"])
        with torch.no_grad():
            logs = torch.log_softmax(model(input_ids=ids).logits[0, :-1].float(), -1)
        scores.append(float(logs.gather(1, ids[0, 1:, None])[first - 1 :].sum()))
    return accuracy(scores, questions)


def questions_harness(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: list[dict[str, Any]]) -> float:
    """Answer with the model class of lm-evaluation-harness; return the accuracy."""
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH)
    return accuracy(
        [value for value, _ in lm.loglikelihood(requests("loglikelihood", pairs(questions)), disable_tqdm=True)], questions
    )


WAYS: dict[tuple[str, str], Callable[..., float]] = {
    ("documents", "ours"): documents_ours,
    ("documents", "one_by_one"): documents_one_by_one,
    ("documents", "harness"): documents_harness,
    ("questions", "ours"): questions_ours,
    ("questions", "tasks"): questions_tasks,
    ("questions", "one_by_one"): questions_one_by_one,
    ("questions", "harness"): questions_harness,
}


def whole_logits(model: PreTrainedModel, rows: int, sequences: int, length: int, *, bounded: bool) -> float:
    """Score one batch of random tokens; return nats.

    Args:
        model: model with many rows.
        rows: number of ids to draw from.
        sequences: number of sequences in the batch.
        length: tokens per sequence.
        bounded: whether only chunks of the logits exist.
    """
    import numpy as np

    ids = np.random.default_rng(0).integers(0, rows, (sequences, length + 1))
    places = np.repeat(np.arange(sequences), length), np.tile(np.arange(1, length + 1), sequences)
    return float(Scorer(model, bounded=bounded)(list(ids), *places)[0].sum())


def random_model(folder: Path, rows: int) -> PreTrainedModel:
    """Return a random model with another's width, four layers and more rows."""
    from transformers import AutoConfig

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder)
    config.vocab_size, config.num_hidden_layers = rows, 4
    return AutoModelForCausalLM.from_config(config).eval()


def memory_mb(key: str) -> float:
    """Return a size of this process in MB: ``VmRSS`` now, ``VmHWM`` its peak since the last reset."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024 / 1e6


def main() -> None:
    """Load, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["documents", "questions", "vocabulary"], required=True)
    parser.add_argument("--way", choices=["ours", "tasks", "one_by_one", "harness", "bounded", "whole"], required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--input", type=Path, help="JSONL of documents or questions")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=256_000, help="rows of the embedding, for vocabulary")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows: list[dict[str, Any]] = []
    if args.what == "vocabulary":
        model = random_model(args.model, args.rows)
    else:
        model, tokenizer = (
            load_for_evaluation(args.model, precision="float32", trust_remote_code=False),
            load_tokenizer(args.model),
        )
        rows = [json.loads(line) for line in args.input.read_text(encoding="utf-8").splitlines()]
    with torch.no_grad():
        model(input_ids=torch.ones((1, 8), dtype=torch.int64))
    before = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    begun, used = time.perf_counter(), time.process_time()
    if args.what == "vocabulary":
        value = whole_logits(model, args.rows, 2, 512, bounded=args.way == "bounded")
    elif args.what == "documents":
        texts = [row["text"] for row in rows]
        value = (
            WAYS["documents", args.way](model, tokenizer, texts, args.window)
            / math.log(2)
            / sum(map(len, map(str.encode, texts)))
        )
    else:
        value = WAYS["questions", args.way](model, tokenizer, rows)
    numbers = {"seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - used, "value": value}
    print(json.dumps({**numbers, "added_mb": round(memory_mb("VmHWM") - before)}))


if __name__ == "__main__":
    main()
