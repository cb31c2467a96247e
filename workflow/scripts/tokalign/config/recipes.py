"""The blocks `recipes`: how an initialized model is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tokalign.common.errors import ConfigurationError
from tokalign.config.base import Block, LeftOut, Name, NumberChoice, Precision, broken, filled
from tokalign.config.models import RemoteCode
from tokalign.config.stages import stage_steps

PRECISION = (
    "Arithmetic; auto takes bfloat16 where the device has it (GPU from Ampere on, CPU with AVX512-BF16 or AMX) and else float32."
)


class Mixture(Block):
    """A second corpus, for instance a general one beside a domain's, that is mixed in."""

    corpus: str = Field(description="Name of its block.")
    share: float = Field(gt=0, lt=1, description="Share of the stage's sequences that come from it.")


class LoraSettings(Block):
    """Low-rank adapters (Hu et al. 2021): ``W + alpha / rank * B @ A``, with A of shape (rank, in) and B (out, rank), B = 0 at first."""

    rank: int = Field(64, ge=1, description="Rank of the two factors of an adapter.")
    alpha: float = Field(16, gt=0, description="The product of the factors counts alpha / rank times.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout on the input of an adapter.")
    targets: list[str] | str = Field(
        "all-linear",
        description="Names of the modules that get adapters, or all-linear for all linear layers but the LM head.",
    )
    embeddings: bool = Field(False, description="Whether the input embedding and the LM head are trained in full beside them.")


class Computation(Block):
    """What a stage computes: a change makes another training."""

    name: Name = Field(description="Name of the stage, part of paths.")
    train: Literal["embeddings", "new_rows", "all", "lora"] = Field(
        description=(
            "Which parameters are trained - the input and output embeddings, only their rows of tokens without an exact twin, all, "
            "or adapters."
        )
    )
    steps: int | None = Field(None, ge=1, description="Optimizer steps. Either steps or tokens is given.")
    tokens: int | None = Field(None, ge=1, description="Training tokens of the stage, rounded up to whole steps. [tokens]")
    learning_rate: float = Field(gt=0, le=1, description="Peak learning rate of AdamW.")
    batch_tokens: int = Field(
        ge=8,
        description=(
            "Tokens per optimizer step over all devices, a multiple of block; how they are accumulated follows from the number of "
            "devices. [tokens]"
        ),
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="Course of the learning rate after the warm-up."
    )
    warmup_ratio: float = Field(0.03, ge=0, le=1, description="Share of the steps in which the learning rate rises.")
    weight_decay: float = Field(
        0.01,
        ge=0,
        description=(
            "Weight decay of AdamW on matrices (biases and norms are exempt, and embeddings where only new rows are trained)."
        ),
    )
    max_grad_norm: float = Field(0.3, gt=0, description="Gradients are clipped to this global norm.")
    precision: Precision = Field("auto", description=PRECISION)
    document_mask: bool = Field(
        False, description="Whether attention and positions restart with each document of a training sequence."
    )
    mixture: Mixture | None = Field(
        None, description="A second corpus, for instance a general one beside a domain's, that is mixed in."
    )

    @model_validator(mode="after")
    def _length(self) -> Self:
        if (self.steps is None) == (self.tokens is None):
            found = "neither" if self.steps is None else "both"
            raise broken("steps or tokens", found=found, expected="one of them", mend="say how long the stage is")
        return self


class Execution(Block):
    """How a stage runs, which changes its result by rounding at most: it may be another when a stage is continued."""

    device_sequences: int = Field(
        8, ge=1, description="Most sequences that one device holds at once; the rest is accumulated. [sequences]"
    )
    quantization: Literal["none", "8bit", "4bit"] = Field(
        "none",
        description=(
            "Bits of the frozen weights of a stage with train lora (bitsandbytes and a GPU are needed); the result is merged into "
            "the weights as they were."
        ),
    )
    loss: Literal["auto", "chunked", "fused", "plain"] = Field(
        "auto",
        description=(
            "How the loss is computed - in chunks of tokens, so that no matrix of tokens by vocabulary exists; by Liger's fused "
            "kernel; or by the model in one piece. auto takes fused where package and GPU are there, else chunked."
        ),
    )
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = Field(
        "auto",
        description=(
            "Implementation of attention; auto takes flash attention where package, GPU and bfloat16 are there, else sdpa."
        ),
    )
    compile: bool = Field(False, description="Whether torch.compile is used.")
    gradient_checkpointing: bool = Field(True, description="Recompute activations to save memory.")
    zero: NumberChoice[Literal[0, 2, 3]] = Field(
        0,
        description=(
            "Stage of DeepSpeed's ZeRO - 2 shares out gradients and optimizer states over the devices, 3 also weights; 0 uses no "
            "DeepSpeed."
        ),
    )
    save_steps: int = Field(100, ge=1, description="Steps between two saved states to continue from. [steps]")
    log_steps: int = Field(1, ge=1, description="Steps between two lines of metrics. [steps]")
    heldout_steps: int = Field(
        100, ge=0, description="Steps between two measurements of bits per byte on held-out text; 0 for none. [steps]"
    )
    heldout_bytes: int = Field(100000, ge=1, description="Held-out text that is measured on. [bytes]")
    max_loss_rise: float | None = Field(
        2,
        gt=0,
        description=(
            "The stage stops with a message where the mean loss of ten lines of metrics is by more than this above the lowest such "
            "mean before; null for never. [nats]"
        ),
    )


class Placement(Block):
    """Where a stage runs."""

    gpus: int = Field(1, ge=0, description="GPUs of each node; 0 trains on the CPU. [devices]")
    nodes: int = Field(1, ge=1, description="Nodes of the job; more than one needs Slurm.")
    processes: int | None = Field(None, ge=1, description="Processes on each node; null is one for each GPU, or one on the CPU.")


class Stage(Placement, Execution, Computation):
    """A stage of training: what it computes, how it runs, and where."""

    publish: Literal["last", "best"] = Field(
        "last",
        description=(
            "Which weights become the stage's checkpoint - those of the last step, or those that predicted the held-out text best."
        ),
    )
    lora: LoraSettings = filled("Adapters of a stage with train lora; they are merged into the weights when the stage ends.")

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if self.gpus and (self.processes or 0) > self.gpus:
            raise broken(
                "more than GPUs, and processes cannot share one", "processes",
                found=f"{self.processes} processes on {self.gpus} GPUs of a node", expected="at most one for each GPU",
                mend="leave processes out, or change gpus",
            )  # fmt: skip
        if self.quantization != "none" and self.train != "lora":
            raise broken(
                "only frozen weights can be quantized", "quantization", found=f"train: {self.train}", expected="train: lora"
            )
        if self.quantization != "none" and self.zero == 3:
            raise broken(
                "ZeRO-3 shares out weights, and quantized ones cannot be", "zero", found="zero: 3", expected="zero: 0 or 2"
            )
        if self.publish == "best" and not self.heldout_steps:
            raise broken(
                "best needs measurements", "publish", found="heldout_steps: 0", expected="steps between two measurements"
            )
        return self


class StageSettings(Computation):
    """What a stage computes, as it is handed to the training."""

    publish: Annotated[str, Field(pattern="^(last|best of [0-9]+ bytes every [0-9]+ steps)$")] = Field(
        "last", description="last, or `best of N bytes every N steps`: measurements on held-out text that choose the weights."
    )
    lora: LeftOut[LoraSettings] = Field(None, description="Adapters of a stage with train lora.")

    @model_validator(mode="after")
    def _adapters(self) -> Self:
        if (self.train == "lora") != (self.lora is not None):
            raise broken(
                "missing key" if self.lora is None else "only of a stage with train: lora", "lora",
                found=f"train: {self.train}", mend="add `lora: {}`" if self.lora is None else "remove it",
            )  # fmt: skip
        return self

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps of the stage, also where it states tokens."""
        return stage_steps({"steps": self.steps, "tokens": self.tokens, "batch_tokens": self.batch_tokens})

    @property
    def mixture_share(self) -> float | None:
        """Share of the sequences that come from the corpus that is mixed in, if one is."""
        return self.mixture.share if self.mixture else None

    def content(self) -> dict[str, Any]:
        """Return what makes the training what it is, for its fingerprint.

        The corpus that is mixed in counts by its blocks, the length by its steps.
        """
        chosen = self.plain("tokens", "mixture")
        return chosen | {
            "steps": self.optimizer_steps,
            "mixture_share": self.mixture_share,
            "lora": self.lora.plain() if self.lora else None,
        }

    def sequences(self, block: int) -> int:
        """Return how many sequences of ``block`` tokens an optimizer step takes.

        Raises:
            ConfigurationError: the batch is not a whole number of them.
        """
        if self.batch_tokens % block:
            raise ConfigurationError(
                f"{self.name}: batch_tokens",
                found=f"{self.batch_tokens}, no multiple of block {block}",
                expected=f"for instance {max(1, round(self.batch_tokens / block)) * block}",
            )
        return self.batch_tokens // block


class TrainSettings(RemoteCode, StageSettings):
    """What is read to train a stage."""


class Recipe(Block):
    """Stages of training, in order; each continues the data where the one before ended."""

    block: int = Field(ge=8, le=1048576, description="Length of a training sequence. [tokens]")
    stages: list[Stage] = Field(min_length=1, description="In this order; each starts from the weights of the one before.")

    @model_validator(mode="after")
    def _stages_fit_together(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise broken("two stages have the same name", "stages", found=names, mend="rename one")
        for name in set(names) & {"source", "initialized"}:
            raise broken(
                "a stage has the name that results give to models before training", "stages", found=name, mend="rename it"
            )
        for i, stage in enumerate(self.stages):
            self._check_batch(stage, f"stages[{i}].batch_tokens")
        return self

    def _check_batch(self, stage: Stage, key: str) -> None:
        if stage.batch_tokens % self.block:
            near = max(1, round(stage.batch_tokens / self.block)) * self.block
            raise broken(
                "no multiple of block", key, found=stage.batch_tokens, expected=f"a multiple of {self.block}",
                mend=f"for instance {near}",
            )  # fmt: skip
        sequences = stage.batch_tokens // self.block
        processes = (stage.processes or max(1, stage.gpus)) * stage.nodes
        if sequences % processes:
            raise broken(
                "cannot be shared out over the processes", key,
                found=f"{sequences} sequences of {self.block} tokens for {processes} processes",
                expected=f"a multiple of {processes * self.block} tokens", mend="change batch_tokens, gpus, nodes or processes",
            )  # fmt: skip
