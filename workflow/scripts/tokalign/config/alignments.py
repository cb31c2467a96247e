"""The blocks `alignments`: how rows of the new embedding are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from tokalign.config.base import Block, LeftOut, Precision, Unique, filled
from tokalign.config.models import RemoteCode


@dataclass(frozen=True)
class MethodEntry:
    """What is known of a method without loading it.

    Attributes:
        function: module below ``tokalign/alignment/methods/`` and the function in it.
        reads_vectors: whether it reads the vectors of both tokenizers.
    """

    function: str
    reads_vectors: bool = False


METHOD_ENTRIES = {
    "special": MethodEntry("overlap.align_by_role"),
    "exact": MethodEntry("overlap.align_by_bytes"),
    "imported": MethodEntry("imported.align_by_import"),
    "tokalign_paper": MethodEntry("tokalign_paper.align_as_published", reads_vectors=True),
    "relative": MethodEntry("relative.align_by_relative_representation", reads_vectors=True),
    "vanilla": MethodEntry("vanilla.align_by_vectors", reads_vectors=True),
    "sparse_codes": MethodEntry("sparse_codes.align_by_sparse_codes", reads_vectors=True),
    "mined": MethodEntry("mined.align_by_edit_distance"),
    "decomposed": MethodEntry("decomposition.align_by_decomposition"),
    "mean": MethodEntry("baselines.fill_with_mean"),
    "normal": MethodEntry("baselines.fill_with_normal"),
    "zero": MethodEntry("baselines.fill_with_zero"),
    "random": MethodEntry("baselines.align_at_random"),
    "permutation": MethodEntry("baselines.align_by_permutation"),
    "frequency": MethodEntry("baselines.align_by_frequency", reads_vectors=True),
}
"""By name: that in ``methods``, and of the block with the method's keys, if it has any."""
VECTOR_METHODS = tuple(name for name, method in METHOD_ENTRIES.items() if method.reads_vectors)
MethodName = Literal[tuple(METHOD_ENTRIES)]
PieceWeights = Literal["mean", "later", "last", "first"]


class Pivots(Block):
    """Tokens of both vocabularies that others are described by."""

    pivots: int = Field(300, ge=2, description="Number of tokens common to both vocabularies that span the shared space.")
    pivot_choice: Literal["random", "frequency"] = Field("random", description="How pivots are chosen among the common tokens.")


class Matching(Block):
    """How tokens are matched by the cosine of two vectors."""

    top_k: int = Field(1, ge=1, le=256, description="Source tokens per target token.")
    temperature: float = Field(0.05, gt=0, description="Temperature of the softmax over the similarities of the top k.")
    min_cosine: float = Field(-1, ge=-1, le=1, description="Tokens whose best cosine is lower are left to the next method.")
    hubness: Literal["none", "csls"] = Field(
        "none", description="Correction for source tokens that are close to everything - none, or CSLS (Conneau et al. 2018)."
    )
    neighbors: int = Field(10, ge=1, le=1000, description="Nearest tokens of the other side that CSLS takes the mean cosine of.")
    mutual: bool = Field(
        False, description="Keep a match only if each token is the other's nearest; the rest is left to the next method."
    )
    one_to_one: bool = Field(
        False,
        description=(
            "Use each source token once at most (stable matching, best pairs first); the rest is left to the next method. Needs "
            "top_k 1."
        ),
    )


class Relative(Matching, Pivots):
    """Relative representation (TokAlign, section 3.2) with normalized rows."""


class Vanilla(Matching):
    """Cosine of the vectors themselves (TokAlign's vanilla mode), which need the same dimensions and, to be of use, one space."""


class SparseCodes(Pivots):
    """Orthogonal matching pursuit of a token's relative representation over those of the source tokens."""

    nonzeros: int = Field(6, ge=1, le=64, description="Most source tokens per target token.")
    tolerance: float = Field(
        0.0001,
        ge=0,
        lt=1,
        description=(
            "No more source tokens are added when what is left of the representation, of length 1, is not longer than this."
        ),
    )
    nonnegative: bool = Field(
        True,
        description=(
            "Weights are at least 0. With negative ones, weights that nearly cancel become huge when they are scaled to sum to 1."
        ),
    )
    sum_to_one: bool = Field(
        True,
        description=(
            "Scale the weights so that they sum to 1; tokens whose weights sum to less than 0.1 before are left to the next method."
        ),
    )
    min_cosine: float = Field(
        -1, ge=-1, le=1, description="Tokens whose combination has a lower cosine to them are left to the next method."
    )


class TokalignPaper(Block):
    """The rules of TokAlign's original program to the letter, its random numbers included; has an answer for every token."""

    pivots: int = Field(
        300, ge=1, description="Pairs of equally spelled tokens that span the shared space; where there are fewer, all."
    )
    mode: Literal["relative", "vanilla"] = Field(
        "relative", description="What is compared - products of the cosines to the pivots, or the vectors themselves."
    )


class Decomposed(Block):
    """Weights of a token's pieces."""

    input: PieceWeights = Field(
        "mean",
        description=(
            "In the input embedding - all the same (mean), each twice the one before (later), or the last or first one alone."
        ),
    )
    output: PieceWeights = Field(
        "mean", description="In the LM head; where it shares its matrix with the input, see initialization.tied_rows."
    )


class Mined(Block):
    """Source token of least Levenshtein distance between canonical bytes (MinED of tokenkit)."""

    min_similarity: float = Field(
        0,
        ge=0,
        le=1,
        description="Tokens are left to the next method if 1 - distance / length of the longer token is lower.",
    )


class Frequency(Block):
    """Random source token of about the same frequency."""

    neighbors: int = Field(100, ge=1, description="Source tokens next in frequency among which one is drawn.")


class ImportedAlignment(Block):
    """An alignment that another program made; required where methods has imported."""

    file: str = Field(
        min_length=1,
        description="JSON file, an object of target id to source id; -1 and missing entries are left to the next method.",
    )
    padding: Literal["error", "skip"] = Field(
        "error",
        description=(
            "Entries beyond the tokenizers' ids, as in files for models with padding rows, are an error, or left out (skip)."
        ),
    )


class FitSettings(Block):
    """What is fitted to the model, in closed form."""

    layers: int = Field(
        8,
        ge=0,
        description=(
            "Lower layers of the model that read a token's pieces; 0 uses the rows of the pieces alone, without forward passes."
        ),
    )
    ridge: float = Field(100, gt=0, description="Penalty of the squared weights of the regression.")
    first_piece: float = Field(
        0.3,
        ge=0,
        description=(
            "Share of the row of a token's first piece that is added to its row of the LM head, if the head is a separate matrix."
        ),
    )
    calibration_tokens: int = Field(
        32768, ge=0, description="Tokens of the corpus that the model reads for the calibration; 0 for none. [tokens]"
    )
    calibration_rounds: int = Field(3, ge=0, description="Rounds of proportional fitting of predicted to counted shares.")
    twin_bias: float = Field(
        0.3,
        ge=0,
        le=1,
        description=(
            "Part of the calibration that rows of special and exact tokens get in a matrix that is shared with the input, where it "
            "disturbs."
        ),
    )
    precision: Precision = Field(
        "auto", description="Precision of the forward passes; auto takes bfloat16 on hardware that has it."
    )
    seed: int = Field(1, ge=0, description="Seed of the cuts and of the sample.")


class Fit(FitSettings):
    """Fit rows to the model in closed form, after the alignment."""

    gpus: int = Field(0, ge=0, le=1, description="GPUs of the job; does not change what is computed.")


class Scale(Block):
    """Factor on the length of rows."""

    input: float = Field(
        1, gt=0, description="For rows of the input embedding. A matrix that is shared takes one number for both."
    )
    output: float = Field(1, gt=0, description="For rows of the LM head.")


class AblationSettings(Block):
    """TokAlign's ablations of the initialization."""

    kind: Literal["none", "shuffle", "permutation", "random_all", "random_aug"] = Field(
        "none",
        description=(
            "Rows replaced by those of random source tokens (shuffle - a share of them, permutation - all), all rows drawn afresh "
            "(random_all), or rows kept by coincidence of ids and further ones drawn (random_aug)."
        ),
    )
    share: float = Field(1, ge=0, le=1, description="Probability that shuffle replaces a row.")
    seed: int = Field(1, ge=0, description="Seed of the draws.")


class InitializationSettings(Block):
    """How the rows are put into the model."""

    untie: bool = Field(
        False,
        description="Store input and output embedding as two matrices in a model that shares one, so that they can differ.",
    )
    pad_to_multiple_of: int = Field(
        1,
        ge=1,
        le=65536,
        description=(
            "The embeddings get rows up to a multiple of this, such as 64; rows beyond the tokenizer are the mean of all, so that "
            "they never have the highest logit. [rows]"
        ),
    )
    tied_rows: Literal["input", "output", "mean"] = Field(
        "mean",
        description=(
            "Rows of a matrix that is shared, where the alignment has other weights for the LM head - those of the input, those of "
            "the output, or the mean of both."
        ),
    )
    norm_matching: Literal["none", "mean", "median", "pieces"] = Field(
        "none",
        description=(
            "Length of rows that are made of source rows but are not the same token - as it comes (none), the mean or median "
            "length of the source rows, or the mean of the lengths of their own pieces."
        ),
    )
    scale: Scale = filled("Factor on the length of the same rows, after norm_matching.")
    ablation: AblationSettings = filled("TokAlign's ablations of the initialization.")

    @property
    def needs_categories(self) -> bool:
        """Whether rows are treated by how they were found."""
        return self.norm_matching != "none" or {self.scale.input, self.scale.output} != {1}


class AlignmentSettings(Block):
    """What the methods of an alignment read."""

    methods: Annotated[Unique[MethodName], Field(min_length=1)] = Field(
        description=(
            "In this order; docs/methods.md says what each does. The last one should have an answer for every token (decomposed, "
            "mean, normal, zero, random, permutation or tokalign_paper)."
        )
    )
    relative: Relative = filled("Relative representation (TokAlign, section 3.2) with normalized rows.")
    vanilla: Vanilla = filled(
        "Cosine of the vectors themselves (TokAlign's vanilla mode); both sides need the same dimensions and, to be of use, one "
        "space."
    )
    sparse_codes: SparseCodes = filled(
        "Orthogonal matching pursuit of a token's relative representation over those of the source tokens."
    )
    tokalign_paper: TokalignPaper = filled(
        "The rules of TokAlign's original program to the letter, its random numbers included; has an answer for every token."
    )
    decomposed: Decomposed | None = Field(
        None, description="Weights of a token's pieces; null gives all the same in both matrices."
    )
    mined: Mined = filled("Source token of least Levenshtein distance between canonical bytes (MinED of tokenkit).")
    frequency: Frequency = filled("Random source token of about the same frequency.")
    imported: LeftOut[ImportedAlignment] = Field(
        None, description="An alignment that another program made; required where methods has imported."
    )
    seed: int = Field(1, ge=0, description="Seed of the choice of pivots and of rows that are drawn.")


class AlignmentBlock(AlignmentSettings):
    """An ordered list of methods; the first that has an answer for a token wins."""

    vectors: LeftOut[str] = Field(
        None,
        description=f"Name of the vectors block that {', '.join(VECTOR_METHODS[:-1])} and {VECTOR_METHODS[-1]} read.",
    )
    fit: Fit | None = Field(
        None,
        description=(
            "Fit rows to the model in closed form, after the alignment - rows of category decomposed are replaced by a regression "
            "on the model's own vocabulary, and the head is calibrated on a sample of the corpus. Null leaves A @ E as it is."
        ),
    )
    initialization: InitializationSettings = filled("How the rows are put into the model.")


class InitializeSettings(InitializationSettings, RemoteCode):
    """What is read to initialize a model."""


class FitRowsSettings(RemoteCode):
    """What is read to fit rows to a model."""

    fit: FitSettings = filled("What is fitted.")
    initialization: InitializationSettings = filled("How the rows are put into the model.")


def read_by_methods(block: dict[str, Any]) -> dict[str, Any]:
    """Return what the methods of an alignment read of its block, and no more.

    Args:
        block: with all defaults filled in.
    """
    own = [method for method in block["methods"] if block.get(method)]
    return {key: block[key] for key in ("methods", "seed", *own)}
