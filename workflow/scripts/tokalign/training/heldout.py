"""Bits per byte on held-out text during training: a quick measurement, on the same text each time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from tokalign.common.errors import ArtifactError
from tokalign.models.scoring import Scorer
from tokalign.models.windows import Window, batches, score_batch, windows
from tokalign.tokens.shards import read_shard
from tokalign.training.processes import Processes

BATCH_TOKENS = 4096


class HeldoutText:
    """Documents of a token shard, cut into windows that score each token once.

    Args:
        shard: token shard of the validation text.
        budget: bytes of text; documents are taken in a seeded order until they add up to it.
        window: most tokens that the model reads at once.
        start: id of the token that documents begin with.

    Raises:
        ArtifactError: the shard holds no documents.
    """

    def __init__(self, shard: Path, budget: int, window: int, start: int):
        """Choose the documents and cut them into windows."""
        documents, sizes = [], []
        for batch in read_shard(shard):
            for first, last in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
                documents.append(batch.ids[first:last])
            sizes += batch.table.column("bytes").to_pylist()
        if not documents:
            raise ArtifactError(f"{shard}: no held-out documents", mend="raise validation_fraction of the corpus")
        order = np.random.Generator(np.random.PCG64([0, len(documents)])).permutation(len(documents))
        reached = np.cumsum(np.array(sizes)[order])
        chosen = order[: int(np.searchsorted(reached, budget)) + 1]
        self.bytes = int(sum(sizes[index] for index in chosen))
        self.documents = len(chosen)
        self.sequences = [np.concatenate([[start], documents[index]]).astype(np.int64) for index in chosen]
        parts = [w for number, ids in enumerate(self.sequences) for w in windows(number, len(ids), window, window)]
        self.batches: list[list[Window]] = list(batches(parts, BATCH_TOKENS))

    def bits_per_byte(self, model: PreTrainedModel, processes: Processes) -> float:
        """Score the text with a model.

        All processes take part and get the same value, which may be NaN.

        Args:
            model: set to evaluation mode during the call. All processes run equally many forward passes, as ZeRO-3 requires.
            processes: processes that share the batches.
        """
        training = model.training
        model.eval()
        scorer = Scorer(model, bounded=False)  # partitioned weights (ZeRO-3) allow whole forward passes only
        total = 0.0
        for first in range(0, len(self.batches), processes.world):
            own = first + processes.rank
            values = score_batch(scorer, self.sequences, self.batches[min(own, len(self.batches) - 1)])
            if own < len(self.batches):
                total += float(values.sum())
        model.train(training)
        (total,) = processes.sums([total])
        return total / (math.log(2) * self.bytes)
