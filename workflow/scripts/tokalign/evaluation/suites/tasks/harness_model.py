"""A model for lm-evaluation-harness that scores with our own Scorer: memory does not depend on the vocabulary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from transformers import LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from tokalign.common.errors import ArtifactError
from tokalign.common.progress import Progress
from tokalign.models.loading import check_fit
from tokalign.models.scoring import Scorer, by_length


class HarnessModel(HFLM):
    """``HFLM`` of the harness with its encoding and generation, but without the logits of whole batches.

    Encoding, truncation from the left and the values are those of ``HFLM``; only the computation differs: logits only of
    continuations, one chunk at a time, and one forward pass for continuations that differ only in their last token. Batching
    changes results only by float noise.

    The tokenizer decides whether a beginning-of-sequence token comes first, as by default in the harness: published values of
    likelihood tasks are made that way. (Documents of the perplexity suite begin like packed training text, for another reason:
    there is no prompt before their first token.)

    Args:
        model: model in evaluation mode, on its device.
        tokenizer: its tokenizer.
        batch_size: most sequences in a forward pass.

    Raises:
        ArtifactError: the tokenizer does not fit the model, or adds special tokens after text.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int):
        """Wrap the model."""
        check_fit(model, tokenizer)
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = tokenizer("a")["input_ids"]
        if whole[len(whole) - len(bare) :] != bare:
            raise ArtifactError(
                f"{tokenizer.name_or_path}: the tokenizer puts special tokens after text",
                found=tokenizer.convert_ids_to_tokens(whole),
                expected="nothing after the text, or a prompt would end before its answer",
                mend="take the end token out of the tokenizer's post-processor",
            )
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_batch_size=batch_size)
        self.scorer = Scorer(model)

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **generation_kwargs: Any) -> torch.Tensor:
        """Generate as ``HFLM`` does; called by ``generate_until``.

        Raises:
            ArtifactError: logits are not finite; the argmax of NaN would otherwise pass as a token.
        """

        def checked(ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
            wrong = (~scores.amax(-1).isfinite()).nonzero()  # the maximum is NaN if any logit is
            if len(wrong):
                raise ArtifactError(
                    f"{self.model.name_or_path}: logits are not finite numbers",
                    found=f"after {str(self.tok_decode(context[int(wrong[0, 0])].tolist()))[-200:]!r}",
                    expected="finite logits",
                    mend="look for NaN in the weights (training diverged?), or evaluate with precision: float32",
                )
            return scores

        return super()._model_generate(
            context, max_length, stop, logits_processor=LogitsProcessorList([checked]), **generation_kwargs
        )

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
        **_: Any,
    ) -> list[tuple[float, bool]]:
        """Score continuations; called by ``loglikelihood`` and ``loglikelihood_rolling``.

        Args:
            requests: texts, token ids of the context (at least one) and token ids of the continuation.
            disable_tqdm: not used, as there is no progress bar.
            override_bs: not used, as ``batch_size`` limits the batches.

        Returns:
            Log-likelihood in nats of each continuation, and whether greedy decoding would give it.

        Raises:
            ArtifactError: a log-likelihood is not finite, or a continuation is longer than the model's context.
        """
        wholes = []
        for texts, context, continuation in requests:
            if len(continuation) > self.max_length:
                raise ArtifactError(
                    f"{self.model.name_or_path}: a continuation is longer than the model's context",
                    found=f"{len(continuation)} tokens: {str(texts)[-80:]}",
                    expected=f"at most {self.max_length}",
                    mend="leave this task out",
                )
            wholes.append((context + continuation)[-(self.max_length + 1) :])
        shared: dict[tuple[int, ...], list[int]] = {}
        for number, whole in enumerate(wholes):
            shared.setdefault(tuple(whole[:-1]), []).append(number)
        reads = sorted(shared, key=lambda read: (-len(read), read))
        found: list[tuple[float, bool]] = [(math.nan, False)] * len(requests)
        progress = Progress("continuations scored", len(requests), "continuations")
        for chosen in by_length([len(read) for read in reads], most_rows=self.batch_size):
            batch = [reads[index] for index in chosen]
            members = [(row, number) for row, read in enumerate(batch) for number in shared[read]]
            sizes = [len(requests[number][2]) for _, number in members]
            rows = np.repeat([row for row, _ in members], sizes)
            positions = np.concatenate(
                [
                    np.arange(len(batch[row]) + 1 - size, len(batch[row]) + 1)
                    for (row, _), size in zip(members, sizes, strict=True)
                ]
            )
            labels = np.concatenate([wholes[number][-size:] for (_, number), size in zip(members, sizes, strict=True)])
            sequences = [np.array([*read, 0]) for read in batch]
            nats, best = self.scorer(sequences, rows, positions, labels=labels, greedy=True)
            owner = np.repeat(np.arange(len(members)), sizes)
            totals = np.bincount(owner, weights=nats)
            greedy = np.bincount(owner, weights=~best) == 0
            for (_, number), total, likely in zip(members, totals, greedy, strict=True):
                if not math.isfinite(total):
                    raise ArtifactError(
                        f"{self.model.name_or_path}: a log-likelihood is not a finite number",
                        found=f"{-total} of {str(requests[number][0])[-200:]}",
                        expected="finite logits",
                        mend="look for NaN in the weights (training diverged?), or evaluate with precision: float32",
                    )
                found[number] = (-float(total), bool(likely))
            progress.advance(len(members))
        progress.close()
        return found
