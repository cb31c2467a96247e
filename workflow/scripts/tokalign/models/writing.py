"""Text that a model writes after prompts, reproducible in any batch.

This module chooses the tokens, not transformers: the most likely one, or by a number between 0 and 1 that depends on seed, prompt
and position alone. So the other prompts of a batch change what is written after a prompt only through the rounding of the logits,
and two models draw with the same numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.common.progress import Progress
from tokalign.models.loading import check_fit, context_length, start_token
from tokalign.models.scoring import CHUNK_BYTES

log = logging.getLogger(__name__)

LIKELY = 1024
"""Tokens sorted in every draw; a draw rarely reaches the rest."""


@dataclass(frozen=True)
class Decoding:
    """How a token is chosen.

    Attributes:
        temperature: 0 takes the most likely token; else logits are divided by it before one is drawn.
        top_p: tokens are drawn from the smallest set of most likely ones that has at least this share of the probability
            (nucleus sampling, Holtzman et al. 2020); 1 draws from all.
        seed: seed of the draws.
    """

    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class Written:
    """What a model wrote after a prompt.

    Attributes:
        text: up to the end of text or the stop, both excluded.
        tokens: number of new tokens, without the one that ended the text.
        ended: whether the model ended the text; else it was cut at the token limit.
        prompt_cut: whether the prompt lost its beginning because the context is too short.
    """

    text: str
    tokens: int
    ended: bool
    prompt_cut: bool


def uniform_numbers(seed: int, name: str, count: int) -> np.ndarray:
    """Return numbers in [0, 1), float64, shape (count,), that depend on seed and name alone.

    A smaller count gives a prefix.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "big")]).random(count)


def draw(logits: torch.Tensor, numbers: torch.Tensor, temperature: float, top_p: float, likely: int = LIKELY) -> torch.Tensor:
    """Draw a token for each row: where the cumulative probability, most likely tokens first, passes a number.

    Among equally likely tokens the lower id comes first. Usually the ``likely`` first tokens suffice; if not, all are sorted,
    with the same result.

    Args:
        logits: float32, shape (rows, vocabulary).
        numbers: in [0, 1), float64, shape (rows,).
        temperature: above 0.
        top_p: in (0, 1].
        likely: number of tokens sorted at first.

    Returns:
        Token ids, int64, shape (rows,).
    """
    some = likely < logits.shape[-1]
    norm = (logits.double() / temperature).logsumexp(-1, keepdim=True)
    ids = (
        logits.topk(likely, sorted=False).indices.sort(-1).values
        if some
        else torch.arange(logits.shape[-1], device=logits.device)
    )
    ids = ids.expand(len(logits), -1)
    ordered, places = logits.gather(1, ids).sort(dim=-1, descending=True, stable=True)
    ids = ids.gather(1, places)
    share = (ordered.double() / temperature - norm).exp()
    mass = share.cumsum(-1)
    last = torch.full_like(mass[:, :1], mass.shape[-1] - 1, dtype=torch.int64)
    nucleus = (mass < top_p).sum(-1, keepdim=True).minimum(last) if top_p < 1 else last
    target = numbers[:, None] * (mass.gather(1, nucleus) if top_p < 1 else 1.0)
    chosen = (mass <= target).sum(-1, keepdim=True).minimum(nucleus)
    tokens = ids.gather(1, chosen)[:, 0]
    if some:
        sure = (share * (ordered > ordered[:, -1:])).sum(-1)  # the last ones may tie with tokens that were left out
        open_rows = (sure <= (top_p if top_p < 1 else numbers)).nonzero()[:, 0]
        if len(open_rows):
            tokens[open_rows] = draw(logits[open_rows], numbers[open_rows], temperature, top_p, logits.shape[-1])
    return tokens


class _Choice(LogitsProcessor):
    """Chooses the next token of each row, for ``generate``.

    All other scores become minus infinity, so that ``generate`` has no choice.
    """

    def __init__(self, names: list[str], ends: torch.Tensor, decoding: Decoding, width: int, most: int, model: str):
        self.names, self.ends, self.decoding, self.width, self.model = names, ends, decoding, width, model
        self.open = torch.ones(len(names), dtype=torch.bool, device=ends.device)
        if decoding.temperature > 0:
            numbers = np.stack([uniform_numbers(decoding.seed, name, most) for name in names])
            self.numbers = torch.from_numpy(numbers).to(ends.device)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        step = input_ids.shape[1] - self.width
        if step:
            self.open &= ~torch.isin(input_ids[:, -1], self.ends)
        wrong = (~scores.amax(-1).isfinite() & self.open).nonzero()  # the largest is NaN if any is
        if len(wrong):
            raise ArtifactError(
                f"{self.model}: no next token for {self.names[int(wrong[0, 0])]}",
                found=f"logits that are not finite after {step} tokens",
                expected="finite logits",
                mend="look for NaN in the weights (training diverged?), or evaluate with precision: float32",
            )
        if self.decoding.temperature > 0:
            rows = max(1, CHUNK_BYTES // (8 * scores.shape[1]))
            parts = [slice(begin, begin + rows) for begin in range(0, len(scores), rows)]
            how = self.decoding.temperature, self.decoding.top_p
            tokens = torch.cat([draw(scores[part], self.numbers[part, step], *how) for part in parts])
        else:
            tokens = scores.argmax(-1)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


@contextlib.contextmanager
def _settings_of_its_own(model: PreTrainedModel, settings: GenerationConfig) -> Iterator[None]:
    """Set the model's generation settings aside; transformers would apply its repetition penalty and the like."""
    own = model.generation_config
    model.generation_config = settings
    try:
        yield
    finally:
        model.generation_config = own


def end_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the tokenizer's end-of-text id, whatever the model's settings say; ``None`` if it has none."""
    end = tokenizer.eos_token_id
    stated = getattr(model.generation_config, "eos_token_id", None)
    if end is None:
        log.warning("warning: the tokenizer has no end-of-text token: nothing ends before its greatest length")
    elif end not in np.atleast_1d(stated if stated is not None else -1):
        log.warning(
            "warning: %s says that token %s ends a text, its tokenizer says %d (%s), which is used",
            model.name_or_path, stated, end, tokenizer.eos_token,
        )  # fmt: skip
    return end


def tokens_with(tokenizer: PreTrainedTokenizerBase, stop: str) -> list[int]:
    """Return the ids of all tokens whose text contains a stop, such as a line break."""
    ids = sorted(tokenizer.get_vocab().values())
    texts = tokenizer.batch_decode([[token] for token in ids], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [token for token, text in zip(ids, texts, strict=True) if stop in text]


def batches(lengths: list[int], new: int, batch_tokens: int) -> Iterator[list[int]]:
    """Group prompts of similar length; rows x (longest prompt + new tokens) is at most ``batch_tokens``, longest first."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * (lengths[batch[0]] + new) > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class Writer:
    """Continues prompts with a model.

    Prompts are padded on the left, so that all rows of a batch continue at the same column, and the new text is everything after
    that column.

    Args:
        model: model in evaluation mode, on its device; its own generation settings are not used.
        tokenizer: its tokenizer.
        max_new_tokens: most tokens of a text that does not end by itself.
        batch_tokens: most tokens of a batch, including padding and new ones; a single prompt may have more.
        document_start: token before a prompt: ``eos``, ``bos`` or ``none``.
        stop: a single character that also ends a text, such as a line break; it may be inside a token.

    Raises:
        ArtifactError: the tokenizer does not fit the model.
        ConfigurationError: the context has no room for a prompt, or the tokenizer has no token to begin with.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_new_tokens: int,
        batch_tokens: int,
        document_start: str,
        stop: str | None = None,
    ):
        """Find the tokens that begin and end a text."""
        check_fit(model, tokenizer)
        self.model, self.tokenizer = model, tokenizer
        self.max_new_tokens, self.batch_tokens, self.stop = max_new_tokens, batch_tokens, stop
        start = start_token(tokenizer, document_start)
        self.first = [] if start is None else [start]
        context = context_length(model)
        self.room = None if context is None else context - max_new_tokens - len(self.first)
        if self.room is not None and self.room < 1:
            raise ConfigurationError(
                "evaluation: max_new_tokens",
                found=max_new_tokens,
                expected=f"room for a prompt beside it in {context} tokens, the context of {model.name_or_path}",
            )
        self.end = end_token(model, tokenizer)
        self.final = {*([] if self.end is None else [self.end]), *([] if stop is None else tokens_with(tokenizer, stop))}
        self.padding = next(token for token in (tokenizer.pad_token_id, self.end, 0) if token is not None)

    @torch.no_grad()
    def __call__(self, names: list[str], prompts: list[str], decoding: Decoding) -> list[Written]:
        """Return what the model writes after each prompt, in order.

        Args:
            names: unique names of the prompts, for messages and draws.
            prompts: texts.
            decoding: how tokens are chosen.

        Raises:
            ArtifactError: logits are not finite.
            ConfigurationError: a prompt has no tokens and no document start.
        """
        encoded, cut = self.encode(names, prompts)
        ends = torch.tensor(sorted(self.final), dtype=torch.int64, device=self.model.device)
        settings = GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            use_cache=True,
            eos_token_id=sorted(self.final) or None,
            pad_token_id=self.padding,
        )
        written: dict[int, Written] = {}
        progress = Progress("texts written", len(prompts), "texts")
        with _settings_of_its_own(self.model, settings):
            for batch in batches([len(ids) for ids in encoded], self.max_new_tokens, self.batch_tokens):
                width = len(encoded[batch[0]])
                ids = np.full((len(batch), width), self.padding, dtype=np.int64)
                mask = np.zeros_like(ids)
                for row, index in enumerate(batch):
                    ids[row, width - len(encoded[index]) :] = encoded[index]
                    mask[row, width - len(encoded[index]) :] = 1
                some = [names[index] for index in batch]
                choice = _Choice(some, ends, decoding, width, self.max_new_tokens, self.model.name_or_path)
                output = self.model.generate(
                    torch.from_numpy(ids).to(self.model.device),
                    attention_mask=torch.from_numpy(mask).to(self.model.device),
                    generation_config=settings,
                    logits_processor=LogitsProcessorList([choice]),
                )
                for index, row in zip(batch, output[:, width:].tolist(), strict=True):
                    written[index] = self.finished(row, cut[index])
                progress.advance(len(batch))
        progress.close()
        if any(cut):
            log.warning("warning: the beginning of %d prompts was left out, as the context is too short for them", sum(cut))
        return [written[index] for index in range(len(prompts))]

    def encode(self, names: list[str], prompts: list[str]) -> tuple[list[list[int]], list[bool]]:
        """Return the token ids of each prompt, and whether its beginning was cut to fit.

        The ids include the document start.

        Raises:
            ConfigurationError: a prompt has no tokens and no document start.
        """
        encoded = self.tokenizer(prompts, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
        cut = [self.room is not None and len(ids) > self.room for ids in encoded]
        whole = [self.first + (ids[-self.room :] if short else ids) for ids, short in zip(encoded, cut, strict=True)]
        for name, ids in zip(names, whole, strict=True):
            if not ids:
                raise ConfigurationError(
                    "evaluation: document_start: none", found=f"a prompt without tokens: {name}", expected="eos or bos"
                )
        return whole, cut

    def finished(self, row: list[int], prompt_cut: bool) -> Written:
        """Return the text of a row of new tokens, which has padding after the last one."""
        last = next((at for at, token in enumerate(row) if token in self.final), None)
        kept = row if last is None else row[:last] if row[last] == self.end else row[: last + 1]
        text = self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if self.stop is not None:
            text = text.split(self.stop, 1)[0]
        return Written(text=text, tokens=len(row) if last is None else last, ended=last is not None, prompt_cut=prompt_cut)
