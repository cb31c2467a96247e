"""Speed and memory of reading and writing text: bytes per second on the same text, time to the first token, latency, memory.

A model with a new tokenizer uses fewer and longer tokens, each of which costs more if the vocabulary is larger. So two tokenizers
cannot be compared by tokens per second, only by bytes of text per second.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.common.progress import Progress
from tokalign.config.suites import EfficiencySettings
from tokalign.evaluation.columns import ALL
from tokalign.evaluation.data.heldout import cut, read_heldout
from tokalign.evaluation.results import digest_of
from tokalign.evaluation.statistics.bootstrap import RESAMPLES, SEED, repeats_interval
from tokalign.evaluation.suite import Findings, Suite
from tokalign.models.device import peak_memory
from tokalign.models.loading import context_length

log = logging.getLogger(__name__)

DATASET = "heldout"
PERCENTILES = (50, 95, 99)
LEAST_NEW_TOKENS = 2
"""The first token comes from reading the prompt; only later ones are decoded."""


@dataclass(frozen=True)
class Measurement:
    """Measurements of one batch of prompts that a model read and continued.

    Attributes:
        batch: number of prompts.
        repetition: number of the run.
        prompt_bytes: UTF-8 bytes of the prompts.
        prompt_tokens: tokens of the prompts, without padding.
        prefill_seconds: time until the logits of the first new token were ready.
        first_token_seconds: time until the first new token of every prompt was chosen.
        token_seconds: time between successive new tokens, from the second on; the same for all prompts.
        output_bytes: UTF-8 bytes of all new tokens.
    """

    batch: int
    repetition: int
    prompt_bytes: int
    prompt_tokens: int
    prefill_seconds: float
    first_token_seconds: float
    token_seconds: tuple[float, ...]
    output_bytes: int

    @property
    def decoded_tokens(self) -> int:
        """New tokens except the first of each prompt."""
        return self.batch * len(self.token_seconds)

    @property
    def decode_seconds(self) -> float:
        """Time from the first new token to the last."""
        return float(sum(self.token_seconds))


def choose_prompts(documents: pa.Table, prompt_bytes: int, number: int) -> list[str]:
    """Return beginnings of held-out documents, long ones first, from each language and domain in turn.

    The choice depends only on the documents, so that all systems read the same text.

    Args:
        documents: table with ``id``, ``text``, ``language``, ``domain`` and ``bytes``.
        prompt_bytes: most UTF-8 bytes of a prompt.
        number: number of prompts; if there are fewer documents, they repeat.
    """
    rows = sorted(documents.to_pylist(), key=lambda row: (-min(row["bytes"], prompt_bytes), row["id"]))
    groups: dict[tuple[str, str], deque[str]] = {}
    for row in rows:
        groups.setdefault((row["language"], row["domain"]), deque()).append(row["text"])
    texts: list[str] = []
    while any(groups.values()) and len(texts) < number:
        texts += [groups[key].popleft() for key in sorted(groups) if groups[key]]
    return list(islice(cycle([cut(text, prompt_bytes) for text in texts[:number]]), number))


class _PrefillClock(LogitsProcessor):
    """Record when the first logits are ready."""

    def __init__(self, now: Callable[[], float]):
        self.now = now
        self.time: float | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if self.time is None:
            self.time = self.now()
        return scores


class _TokenClock(StoppingCriteria):
    """Record when each new token is ready; never stop."""

    def __init__(self, now: Callable[[], float]):
        self.now = now
        self.times: list[float] = []

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        self.times.append(self.now())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


class System:
    """A model and its tokenizer, ready to measure.

    Args:
        model: model in evaluation mode, on its device.
        tokenizer: its tokenizer.
        clock: returns seconds; called after the device has finished its work.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, clock: Callable[[], float] = time.perf_counter
    ):
        """Find the tokens that end a text."""
        self.model, self.tokenizer, self.clock = model, tokenizer, clock
        of_model = model.generation_config.eos_token_id if model.generation_config is not None else None
        ends = {tokenizer.eos_token_id, *(of_model if isinstance(of_model, list) else [of_model])} - {None}
        self.ends = sorted(end for end in ends if end < model.get_input_embeddings().weight.shape[0])
        pad = tokenizer.pad_token_id
        self.pad = pad if pad is not None else self.ends[0] if self.ends else 0

    def now(self) -> float:
        """Return the time after the device has finished its work."""
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        return self.clock()

    @torch.no_grad()
    def run(self, prompts: list[str], new_tokens: int, repetition: int) -> Measurement:
        """Read prompts and write the same number of new tokens for each, greedily and with a key-value cache.

        End-of-text tokens are never chosen, so that every system writes as much as requested.

        Args:
            prompts: texts; shorter ones are padded on the left, which takes time but is not counted.
            new_tokens: new tokens per prompt, at least 2.
            repetition: number of the run.
        """
        encoded = self.tokenizer(prompts, add_special_tokens=False)["input_ids"]
        width = max(map(len, encoded))
        ids = torch.full((len(prompts), width), self.pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, width - len(tokens) :] = torch.tensor(tokens)
            mask[row, width - len(tokens) :] = 1
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        # Replaced, as the model's own settings would fill in defaults here, such as sampling.
        self.model.generation_config = GenerationConfig(
            max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False, use_cache=True,
            eos_token_id=self.ends or None, pad_token_id=self.pad,
        )  # fmt: skip
        prefill, token = _PrefillClock(self.now), _TokenClock(self.now)
        start = self.now()
        output = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            logits_processor=transformers.LogitsProcessorList([prefill]),
            stopping_criteria=transformers.StoppingCriteriaList([token]),
        )
        assert prefill.time is not None
        written = self.tokenizer.batch_decode(output[:, width:].tolist(), clean_up_tokenization_spaces=False)
        return Measurement(
            batch=len(prompts),
            repetition=repetition,
            prompt_bytes=sum(len(prompt.encode("utf-8")) for prompt in prompts),
            prompt_tokens=sum(map(len, encoded)),
            prefill_seconds=prefill.time - start,
            first_token_seconds=token.times[0] - start,
            token_seconds=tuple(np.diff(token.times).tolist()),
            output_bytes=sum(len(text.encode("utf-8")) for text in written),
        )


def new_tokens_for(new_bytes: int, bytes_per_token: float) -> int:
    """Return how many tokens a system needs for ``new_bytes`` bytes of text, at least 2."""
    return max(LEAST_NEW_TOKENS, round(new_bytes / bytes_per_token))


def measure_system(
    system: System, documents: pa.Table, settings: EfficiencySettings
) -> tuple[list[Measurement], dict[int, int], float, int]:
    """Measure a system with every batch size, smallest first.

    Args:
        system: model and tokenizer.
        documents: held-out documents.
        settings: what to measure.

    Returns:
        The runs, peak memory by batch size in bytes, bytes per token of the prompts, and new tokens per prompt.

    Raises:
        ArtifactError: the tokenizer gives no tokens for a prompt.
        ConfigurationError: a prompt and its new tokens exceed the model's context.
    """
    sizes, where = sorted(settings.batch_sizes), system.model.name_or_path
    prompts = choose_prompts(documents, settings.prompt_bytes, sizes[-1] * settings.repetitions)
    tokens = [len(ids) for ids in system.tokenizer(prompts, add_special_tokens=False)["input_ids"]]
    if not all(tokens):
        raise ArtifactError(
            f"{where}: a prompt gives no tokens", found=repr(prompts[tokens.index(0)][:40]), mend="use another tokenizer"
        )
    bytes_per_token = sum(len(prompt.encode("utf-8")) for prompt in prompts) / sum(tokens)
    new_tokens = new_tokens_for(settings.new_bytes, bytes_per_token)
    context = context_length(system.model)
    if context is not None and max(tokens) + new_tokens > context:
        raise ConfigurationError(
            "evaluation: efficiency: prompt_bytes and new_bytes are too many for the model",
            found=f"up to {max(tokens)} tokens of a prompt and {new_tokens} new ones",
            expected=f"at most {context}, the context of {where}",
            mend="lower prompt_bytes or new_bytes",
        )
    runs, memory = [], {}
    progress = Progress("runs measured", len(sizes) * settings.repetitions, "runs")
    for size in sizes:
        if system.model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(system.model.device)
        for _ in range(settings.warmup):
            system.run(prompts[:size], new_tokens, -1)
        for repetition in range(settings.repetitions):
            runs.append(system.run(prompts[repetition * size : (repetition + 1) * size], new_tokens, repetition))
            progress.advance(note=f"batch of {size}")
        memory[size] = peak_memory(system.model.device)
    progress.close()
    return runs, memory, bytes_per_token, new_tokens


def metric(
    name: str, condition: str, value: float, unit: str, better: str, n: int, items: str, ci95: list[float] | None = None
) -> dict[str, Any]:
    """Return a metric in the format of the result."""
    return {
        "metric": name, "dataset": DATASET, "condition": condition, "language": ALL, "domain": ALL, "value": value, "ci95": ci95,
        "n": n, "items": items, "unit": unit, "better": better, "level": "corpus",
    }  # fmt: skip


def metrics_of_runs(runs: Sequence[Measurement], bytes_per_token: float) -> list[dict[str, Any]]:
    """Return the metrics of the runs of one batch size.

    A rate is the mean over the runs, with a t interval. A percentile is over all runs together, with a bootstrap over runs; a
    jackknife would be far too narrow, as leaving out a run moves a percentile by one step or not at all. A high percentile of few
    values is close to their maximum.

    Args:
        runs: at least 2 runs of the same batch size.
        bytes_per_token: bytes per token of held-out text, to convert new tokens to bytes; an untrained model would otherwise seem
            fast by writing long tokens.
    """
    condition = f"batch {runs[0].batch}"

    def repeated(name: str, unit: str, better: str, of_run: Callable[[Measurement], float]) -> dict[str, Any]:
        values = [of_run(run) for run in runs]
        found = metric(name, condition, float(np.mean(values)), unit, better, len(runs), "runs", repeats_interval(values))
        return found | {"replicates": {"kind": "repeats", "values": values}}

    def percentiles(name: str, better: str, of_run: Callable[[Measurement], Sequence[float]]) -> list[dict[str, Any]]:
        values = np.array([of_run(run) for run in runs])
        draws = np.random.default_rng(SEED).integers(0, len(runs), size=(RESAMPLES, len(runs)))
        drawn = values[draws].reshape(RESAMPLES, -1)
        found = []
        for percent in PERCENTILES:
            ci95 = np.quantile(np.percentile(drawn, percent, axis=1), [0.025, 0.975]).tolist()
            value = float(np.percentile(values, percent))
            found.append(metric(f"{name}_p{percent}", condition, value, "s", better, len(runs), "runs", ci95))
        return found

    return [
        repeated("prefill_bytes_per_second", "bytes/s", "higher", lambda run: run.prompt_bytes / run.prefill_seconds),
        repeated("prefill_tokens_per_second", "tokens/s", "neither", lambda run: run.prompt_tokens / run.prefill_seconds),
        repeated("first_token_seconds", "s", "lower", lambda run: run.first_token_seconds),
        *percentiles("first_token_seconds", "lower", lambda run: [run.first_token_seconds]),
        repeated(
            "decode_bytes_per_second", "bytes/s", "higher", lambda run: run.decoded_tokens * bytes_per_token / run.decode_seconds
        ),
        repeated("decode_tokens_per_second", "tokens/s", "neither", lambda run: run.decoded_tokens / run.decode_seconds),
        *percentiles("token_seconds", "neither", lambda run: run.token_seconds),
    ]


def sizes(model: PreTrainedModel) -> dict[str, int]:
    """Return the sizes of a model that determine the cost of a token.

    Returns:
        ``parameters``, ``embedding_parameters`` (input and output, counted once if tied), ``embedding_rows`` and
        ``hidden_size``, the columns of the embedding.
    """
    weights = {module.weight for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module is not None}
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "embedding_parameters": sum(weight.numel() for weight in weights),
        "embedding_rows": model.get_input_embeddings().weight.shape[0],
        "hidden_size": model.get_input_embeddings().weight.shape[1],
    }


@dataclass(frozen=True)
class Measured:
    """Measurements of a model.

    Attributes:
        runs: runs of all batch sizes.
        memory: peak memory by batch size [bytes].
        bytes_per_token: UTF-8 bytes per token of the prompts.
        new_tokens: new tokens per prompt.
        sizes: see :func:`sizes`.
        vocabulary: number of token ids.
        on_gpu: whether the model ran on a GPU.
    """

    runs: list[Measurement]
    memory: dict[int, int]
    bytes_per_token: float
    new_tokens: int
    sizes: dict[str, int]
    vocabulary: int
    on_gpu: bool


def read(settings: EfficiencySettings, documents: str | Path) -> tuple[pa.Table, dict[str, str]]:
    """Read held-out documents."""
    return read_heldout(documents), {"data": digest_of(documents)}


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: pa.Table, settings: EfficiencySettings
) -> Measured:
    """Measure a model with every batch size; see :func:`measure_system`."""
    runs = measure_system(System(model, tokenizer), documents, settings)
    vocabulary = max(tokenizer.get_vocab().values()) + 1
    return Measured(*runs, sizes(model), vocabulary, model.device.type == "cuda")


def report(measured: Measured, documents: pa.Table, settings: EfficiencySettings, seconds: float) -> Findings:
    """Return the items, a row per run, and the metrics.

    The metrics are those of :func:`metrics_of_runs` and peak memory per batch size, and the sizes of model and vocabulary.
    """
    runs = measured.runs
    metrics = []
    for size, peak in measured.memory.items():
        chosen = [run for run in runs if run.batch == size]
        metrics += metrics_of_runs(chosen, measured.bytes_per_token)
        metrics.append(metric("peak_memory", f"batch {size}", peak, "bytes", "lower", len(chosen), "runs"))
        speed = {m["metric"]: m["value"] for m in metrics if m["condition"] == f"batch {size}"}
        log.info("batch of %d: reads %.0f bytes/s, first token after %.3f s, writes %.0f bytes/s", size,
                 speed["prefill_bytes_per_second"], speed["first_token_seconds"], speed["decode_bytes_per_second"])  # fmt: skip
    share = measured.sizes["embedding_parameters"] / measured.sizes["parameters"]
    metrics += [
        metric("parameters", "", measured.sizes["parameters"], "parameters", "lower", 1, "models"),
        metric("embedding_share", "", share, "share of parameters", "lower", 1, "models"),
        metric("vocabulary", "", measured.vocabulary, "tokens", "neither", 1, "models"),
    ]
    items = pa.table(
        {
            "dataset": [DATASET] * len(runs),
            "condition": [f"batch {run.batch}" for run in runs],
            "language": [ALL] * len(runs),
            "domain": [ALL] * len(runs),
            "id": [f"run {run.repetition}" for run in runs],
            **{name: [getattr(run, name) for run in runs] for name in ("prompt_bytes", "prompt_tokens", "prefill_seconds")},
            "first_token_seconds": [run.first_token_seconds for run in runs],
            "decoded_tokens": [run.decoded_tokens for run in runs],
            "decode_seconds": [run.decode_seconds for run in runs],
            "output_bytes": [run.output_bytes for run in runs],
            "token_seconds": [list(run.token_seconds) for run in runs],
        }
    )
    more = {
        **measured.sizes,
        "bytes_per_token": measured.bytes_per_token,
        "new_tokens": measured.new_tokens,
        "threads": torch.get_num_threads(),
        "peak_memory_is": (
            "allocated by PyTorch on the GPU" if measured.on_gpu else "resident set of the process since its start"
        ),
    }
    return Findings(items, metrics, more)


SUITE = Suite(read, measure, report)
