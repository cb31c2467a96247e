"""Memory, disk and time of the steps, estimated before anything runs.

The formulas are those of the literature, with the constants stated here. They are meant to be a little high: a job that requests
too much waits longer, one that requests too little is killed. Bytes are bytes, MB are 10**6 bytes, times are seconds or hours as
their names say.

Symbols: P parameters (tied ones counted once), T trained parameters, V rows of an embedding, d its width, L layers,
b sequences that a device holds at once, s tokens in a sequence, D devices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tokalign.cluster.gpus import UNKNOWN_GPU, peak_flops
from tokalign.config.stages import stage_steps

MB = 1_000_000
UTILIZATION = 0.35
"""Share of a device's peak that training reaches (model FLOPs utilization); well-tuned runs on GPUs report 0.3 to 0.5."""
SCORING_UTILIZATION = 0.15
"""The same for scoring, whose batches are smaller and which spends time on the CPU."""
PROCESS_BYTES = 1_500 * MB
"""Python, torch and the tokenizer in one process; a GPU process also has a CUDA context."""
CONTEXT_BYTES = 1_500 * MB
"""CUDA context, libraries and fragmentation on a GPU."""
LOGIT_BYTES = 16
"""Per token and vocabulary entry when all logits of a batch exist: bfloat16, float32 copy, log-softmax and its gradient."""
LAYER_BYTES = 34
"""Activations per token and unit of width of a layer in 16 bits, with attention that stores no s x s matrix (Korthikanti et al. 2022)."""
CHUNK_BYTES = 2**27
"""Size of the float32 logits of a chunk of a chunked loss (training/losses/chunked.py); three times as much is in use."""
LORA_RANK = 64
"""Rank assumed if a stage with LoRA states none."""
GLOVE_NONZEROS_PER_SECOND = 2e6
"""Non-zeros per second of one thread; docs/benchmarks.md measures 5e6 on a small vocabulary."""
COUNTED_TOKENS_PER_SECOND = 1e5
"""Tokens per second of one thread; docs/benchmarks.md measures 2e6 on a small corpus whose counts fit into memory."""
COMPARISONS_PER_SECOND = 2e9
"""Multiplications per second of one thread that compares vectors."""
DISK_BYTES_PER_SECOND = 1e8
"""Bytes per second of a shared file system that others also use."""
BYTES_PER_TOKEN = 4
"""Bytes of text per token of a usual tokenizer."""
TOKEN_BYTES = 4
"""Size of a token id in shards and packed blocks."""


@dataclass(frozen=True)
class ModelSize:
    """Sizes on which a model's memory and time depend.

    Attributes:
        parameters: all parameters, tied ones counted once (P).
        rows: rows of the embedding (V).
        width: width of the embedding (d).
        tied: whether the LM head is the input embedding.
    """

    parameters: int
    rows: int
    width: int
    tied: bool

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> ModelSize:
        """Return the size stated in a model's info.json."""
        return cls(info["parameters"], info["embedding_rows"], info["hidden_size"], info["tied"])

    @classmethod
    def typical(cls, parameters: int, rows: int = 50_000) -> ModelSize:
        """Return the usual shape of a model of which only the size is known.

        Layers hold 12 L d^2 parameters and models are about 128 times as wide as deep, so d is the cube root of
        128 P / 12, to the next multiple of 128. The LM head counts as tied, so that all other parameters are in the layers.
        """
        width = max(128, 128 * round((128 * parameters / 12) ** (1 / 3) / 128))
        return cls(max(parameters, rows * width), rows, width, True)

    @property
    def table(self) -> int:
        """Parameters of one embedding, V d."""
        return self.rows * self.width

    @property
    def embeddings(self) -> int:
        """Parameters of input embedding and LM head."""
        return self.table * (1 if self.tied else 2)

    @property
    def body(self) -> int:
        """Parameters of all other layers."""
        return max(0, self.parameters - self.embeddings)

    @property
    def layers(self) -> int:
        """Number of layers, L, from 12 L d^2 = body."""
        return max(1, round(self.body / (12 * self.width**2)))

    @property
    def products(self) -> int:
        """Parameters that multiply a token: the body and the LM head; looking up an input row costs nothing."""
        return self.body + self.table

    def with_rows(self, rows: int) -> ModelSize:
        """Return the size of the model with another vocabulary."""
        return replace(self, parameters=self.body + rows * self.width * (1 if self.tied else 2), rows=rows)


@dataclass(frozen=True)
class Stage:
    """Settings on which the cost of a training stage depends.

    Attributes:
        train: ``all``, ``embeddings``, ``new_rows`` or ``lora``.
        steps: optimizer steps.
        batch_tokens: tokens per step over all devices.
        block: tokens in a sequence (s).
        device_sequences: sequences that a device holds at once (b).
        precision: ``float32``, ``bfloat16`` or ``auto`` (bfloat16 on a GPU; on a CPU float32 is assumed).
        gradient_checkpointing: whether activations are recomputed in the backward pass.
        gpus: GPUs per node; 0 trains on the CPU.
        nodes: number of nodes.
        processes: processes per node.
        zero: stage of DeepSpeed's ZeRO; 0 without.
        lora_rank: rank of the LoRA matrices.
        lora_embeddings: whether LoRA also trains input embedding and LM head in full.
        plain_loss: whether all logits of a device batch exist at once, instead of those of a chunk.
    """

    train: str
    steps: int
    batch_tokens: int
    block: int
    device_sequences: int = 8
    precision: str = "auto"
    gradient_checkpointing: bool = True
    gpus: int = 1
    nodes: int = 1
    processes: int = 1
    zero: int = 0
    lora_rank: int = LORA_RANK
    lora_embeddings: bool = False
    plain_loss: bool = False

    @classmethod
    def of(cls, stage: Mapping[str, Any], block: int) -> Stage:
        """Return the values of a recipe's stage; optional keys fall back to the defaults above.

        Args:
            stage: a block of the list ``stages``, validated.
            block: ``block`` of the recipe [tokens].
        """
        gpus = stage.get("gpus", 1)
        batch = stage["batch_tokens"]
        lora = stage.get("lora") or {}
        return cls(
            train=stage["train"],
            steps=stage_steps(stage),
            batch_tokens=batch,
            block=block,
            device_sequences=min(stage.get("device_sequences", 8), max(1, batch // block)),
            precision=stage.get("precision", "auto"),
            gradient_checkpointing=stage.get("gradient_checkpointing", True),
            gpus=gpus,
            nodes=stage.get("nodes", 1),
            processes=stage.get("processes") or gpus or 1,
            zero=stage.get("zero", 0),
            lora_rank=lora.get("rank", LORA_RANK),
            lora_embeddings=lora.get("embeddings", False),
            plain_loss=stage.get("loss") == "plain",
        )

    @property
    def tokens(self) -> int:
        """Tokens that the stage reads."""
        return self.steps * self.batch_tokens

    @property
    def devices(self) -> int:
        """Processes of all nodes, each with a device (D)."""
        return self.processes * self.nodes

    @property
    def arithmetic_bytes(self) -> int:
        """Bytes of a number in activations: 2 or 4."""
        return 2 if self.precision == "bfloat16" or (self.precision == "auto" and self.gpus) else 4


def trained_parameters(model: ModelSize, stage: Stage) -> int:
    """Return T, the number of parameters that have a gradient and optimizer state.

    ``new_rows`` counts as ``embeddings``, since the gradient exists for the whole matrix. LoRA has two matrices of rank r beside
    each matrix of the body: 2 r d instead of d^2 parameters.
    """
    if stage.train == "all":
        return model.parameters
    if stage.train == "lora":
        beside = model.embeddings if stage.lora_embeddings else 0
        return round(model.body * 2 * stage.lora_rank / model.width) + beside
    return model.embeddings


def flops_per_token(model: ModelSize, stage: Stage) -> int:
    """Return the operations of training per token.

    With N parameters that multiply a token (body and LM head): 2 N forward, 2 N for the gradients of the
    activations, and 2 per trained one for the gradients of the weights: 6 N for ``all`` (Kaplan et al. 2020),
    4 N + 2 V d for the embeddings, as the gradient of looking up a row costs nothing. Gradient checkpointing
    repeats the forward pass of the body, 2 N of the body. Attention's own products (12 L d s) are left out.
    """
    if stage.train == "all":
        weights = 2 * model.products
    elif stage.train == "lora":
        weights = 2 * trained_parameters(model, stage)
    else:
        weights = 2 * model.table
    again = 2 * model.body if stage.gradient_checkpointing else 0
    return 4 * model.products + weights + again


def training_hours(model: ModelSize, stage: Stage, gpu: str | None, threads: int = 8) -> float:
    """Return the hours of a stage: operations / (devices x peak x utilization).

    Args:
        model: the model with the new vocabulary.
        stage: the stage to train.
        gpu: model of the GPU; read only if the stage has GPUs.
        threads: CPU threads per node; read only if it has none.
    """
    precision = "float32" if stage.arithmetic_bytes == 4 else "bfloat16"
    if stage.gpus:
        speed = stage.devices * peak_flops(gpu or UNKNOWN_GPU, precision)
    else:
        speed = stage.nodes * peak_flops(None, precision, threads)
    return stage.tokens * flops_per_token(model, stage) / (speed * UTILIZATION) / 3600


def gpu_hours(model: ModelSize, stage: Stage, gpu: str | None) -> float:
    """Return hours x GPUs x nodes of a stage; 0 on a CPU."""
    return training_hours(model, stage, gpu) * stage.gpus * stage.nodes


def model_state_bytes(model: ModelSize, stage: Stage) -> int:
    """Return the bytes of weights, gradients and AdamW's state on one device.

    Without ZeRO everything is float32: 4 P + 4 T + 8 T. DeepSpeed keeps weights and gradients in the precision of the arithmetic
    (w = 2 or 4 bytes) and, of trained parameters, a float32 copy with two moments (Rajbhandari et al. 2020): ZeRO-2
    w P + (w T + 12 T) / D, ZeRO-3 (w P + w T + 12 T) / D.
    """
    trained = trained_parameters(model, stage)
    if not stage.zero:
        return 4 * model.parameters + 12 * trained
    width, devices = stage.arithmetic_bytes, stage.devices
    weights = width * model.parameters
    if stage.zero == 3:
        weights = math.ceil(weights / devices)
    return weights + math.ceil((width + 12) * trained / devices)


def activation_bytes(model: ModelSize, stage: Stage) -> int:
    """Return the bytes of the activations on one device.

    A layer stores 34 s b d bytes in 16 bits, twice that in 32 (``LAYER_BYTES``). With gradient checkpointing only the inputs of
    the layers are kept, and one layer in full.
    """
    numbers = stage.device_sequences * stage.block * model.width
    layer = LAYER_BYTES * numbers * stage.arithmetic_bytes // 2
    if not stage.gradient_checkpointing:
        return model.layers * layer
    return model.layers * numbers * stage.arithmetic_bytes + layer


def logits_bytes(model: ModelSize, stage: Stage) -> int:
    """Return the bytes of the logits and of what the loss computes from them.

    In one piece, 16 per token of a device batch and row; in chunks, three times the logits of a chunk.
    """
    whole = LOGIT_BYTES * model.rows * stage.device_sequences * stage.block
    return whole if stage.plain_loss else min(whole, 3 * CHUNK_BYTES)


def device_bytes(model: ModelSize, stage: Stage) -> int:
    """Return the memory of one GPU (or of one process on a CPU, without the process's own memory)."""
    context = CONTEXT_BYTES if stage.gpus else 0
    return model_state_bytes(model, stage) + activation_bytes(model, stage) + logits_bytes(model, stage) + context


def training_memory_mb(model: ModelSize, stage: Stage) -> int:
    """Return the main memory of each node of a training job, in MB.

    On a CPU every process holds what a device would. With GPUs every process reads the model before it goes to the device, 4 P,
    and one gathers it again to save it.
    """
    if stage.gpus:
        held = (stage.processes + 1) * 4 * model.parameters
    else:
        held = stage.processes * device_bytes(model, stage) + 4 * model.parameters
    return megabytes(held + stage.processes * PROCESS_BYTES)


def state_bytes(model: ModelSize, stage: Stage) -> int:
    """Return the disk space of one saved state: float32 weights and two moments of trained parameters, 12 T.

    DeepSpeed also saves the weights of the whole model, in the precision of the arithmetic.
    """
    weights = stage.arithmetic_bytes * model.parameters if stage.zero else 0
    return weights + 12 * trained_parameters(model, stage)


def checkpoint_bytes(model: ModelSize) -> int:
    """Return the disk space of a finished checkpoint, float32."""
    return 4 * model.parameters


def counting_memory_mb(memory_gb: float) -> int:
    """Return the memory of counting in MB: its bound, plus libraries and the counts of single tokens."""
    return math.ceil(memory_gb * 1000) + 4000


def counting_hours(tokens: int, threads: int) -> float:
    """Return the hours of counting co-occurrences."""
    return tokens / (threads * COUNTED_TOKENS_PER_SECOND) / 3600


def glove_memory_mb(file_bytes: int, vocabulary: int, dimensions: int) -> int:
    """Return the memory of training GloVe in MB: counts three times (read, in blocks, sorted), vectors, AdaGrad's sums.

    Args:
        file_bytes: size of the file of counts.
        vocabulary: number of tokens.
        dimensions: dimensions of a vector; each token has two vectors and two sums, float32.
    """
    return megabytes(3 * file_bytes + 16 * vocabulary * (dimensions + 1) + PROCESS_BYTES)


def glove_hours(file_bytes: int, iterations: int, threads: int) -> float:
    """Return the hours of training GloVe; a non-zero is 8 bytes in the file of counts."""
    return file_bytes / 8 * iterations / (threads * GLOVE_NONZEROS_PER_SECOND) / 3600


def alignment_memory_mb(source: int, target: int, dimensions: int) -> int:
    """Return the memory of an alignment in MB: four float32 copies of the vectors (read, normalized, relative, pivots).

    Args:
        source: tokens of the source vocabulary.
        target: tokens of the target vocabulary.
        dimensions: dimensions of the longest representation: vectors or pivots.
    """
    return megabytes(16 * (source + target) * dimensions + 2 * PROCESS_BYTES)


def alignment_hours(source: int, target: int, dimensions: int, threads: int) -> float:
    """Return the hours of comparing every token of one vocabulary with every token of the other, three times."""
    return 3 * source * target * dimensions / (threads * COMPARISONS_PER_SECOND) / 3600


def initialization_memory_mb(model: ModelSize, rows: int) -> int:
    """Return the memory of making new embeddings, in MB.

    Source rows, new rows and a copy of these, float32.

    The rest of the model is copied from file to file.

    Args:
        model: the model with its own vocabulary.
        rows: size of the new vocabulary.
    """
    return megabytes(4 * model.width * (model.rows + 2 * rows) + PROCESS_BYTES)


def initialization_hours(model: ModelSize, rows: int) -> float:
    """Return the hours of reading the model and writing it with the new vocabulary."""
    moved = checkpoint_bytes(model) + checkpoint_bytes(model.with_rows(rows))
    return moved / DISK_BYTES_PER_SECOND / 3600


def fit_memory_mb(model: ModelSize, rows: int) -> int:
    """Return the memory of fitting rows in MB: the model, and four copies of both vocabularies' embeddings, float32."""
    return megabytes(4 * model.parameters + 16 * model.width * (model.rows + rows) + 2 * PROCESS_BYTES)


def evaluation_memory_mb(model: ModelSize) -> int:
    """Return the main memory of scoring a model, in MB.

    Its weights, read and converted, and 3 GB of logits.
    """
    return megabytes(8 * model.parameters + 3_000 * MB + PROCESS_BYTES)


def evaluation_hours(model: ModelSize, tokens: int, overlap: float, gpu: str | None, threads: int = 8) -> float:
    """Return the hours of scoring a text, at 2 N operations per token read.

    Args:
        model: the model to score.
        tokens: tokens of the text.
        overlap: how often a token is read: window / stride.
        gpu: model of the GPU; ``None`` for a CPU.
        threads: CPU threads.
    """
    speed = SCORING_UTILIZATION * peak_flops(gpu, "bfloat16", threads)
    return 2 * model.products * tokens * overlap / speed / 3600


def megabytes(size: float) -> int:
    """Return bytes as MB, rounded up."""
    return math.ceil(size / MB)


def parameters_in_name(name: str) -> int | None:
    """Return the number of parameters in a model's name (``pythia-1.4b``, ``SmolLM2-135M``), or ``None``."""
    found = re.findall(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([bm])(?![A-Za-z0-9])", name.lower())
    if not found:
        return None
    number, unit = found[-1]
    return round(float(number) * (10**9 if unit == "b" else 10**6))


def asked_memory_mb(estimate: int) -> int:
    """Return the memory to request: the estimate plus a quarter, in steps of 500 MB."""
    return 500 * math.ceil(1.25 * estimate / 500)


def asked_minutes(hours: float) -> int:
    """Return the time limit to request, in minutes.

    Twice the estimate plus half an hour for start and files, rounded up to tens of minutes.
    """
    return 10 * math.ceil((120 * hours + 30) / 10)
