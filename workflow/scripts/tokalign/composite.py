"""Composite metrics of tokalign-baseline: derived, exploratory, never a headline.

They mix quality with speed, or two metrics of quality with each other, and nobody has shown that they agree with what people
find good. They are computed so that its numbers can be repeated, and shown with that caveat.
"""

from __future__ import annotations

from dataclasses import dataclass


def chrf_e(chrf: float, speed: float, source_speed: float) -> float:
    """Return chrF++ scaled by speed: chrF++ x throughput / throughput of the source model [tokalign-baseline].

    Args:
        chrf: chrF++ of the adapted model, in percent.
        speed: its throughput, in any unit that is the same for both (bytes/s is fair, tokens/s is not).
        source_speed: that of the source model.
    """
    return chrf * speed / source_speed


@dataclass(frozen=True)
class DecodingCost:
    """What makes a token of a model cost: its body, and the LM head, which grows with the vocabulary.

    Attributes:
        vocabulary: rows of the LM head.
        body: parameters that a token goes through beside the LM head (and beside the input embedding, which is a look-up).
        hidden: columns of the LM head.
        tokens: that the model needs for the compared text.
    """

    vocabulary: int
    body: int
    hidden: int
    tokens: float

    @property
    def per_text(self) -> float:
        """Multiplications for the compared text: tokens x (body + LM head)."""
        return self.tokens * (self.body + self.hidden * self.vocabulary)


@dataclass(frozen=True)
class FertilityTrap:
    """Whether a better tokenizer made a worse system [tokalign-baseline, "The Fertility Trap"].

    Attributes:
        holds: chrF++ rises, but chrF-E falls below the chrF++ of the source model.
        analytic: the published condition, V_new / V_old > (L_old / L_new) x (C_seq / C_vocab), where C_seq / C_vocab is the cost of a
            token in body and LM head of the source model; ``None`` where sizes are not known.
        slower: whether the new model needs more multiplications for the same text, which is what the condition stands for.
    """

    holds: bool
    analytic: bool | None
    slower: bool | None


def fertility_trap(
    chrf_source: float, chrf: float, chrf_e_new: float, source: DecodingCost | None = None, new: DecodingCost | None = None
) -> FertilityTrap:
    """Return the verdict for an adapted model.

    Args:
        chrf_source: chrF++ of the source model.
        chrf: of the adapted model.
        chrf_e_new: chrF-E of the adapted model.
        source: costs of the source model.
        new: costs of the adapted model.
    """
    analytic = slower = None
    if source is not None and new is not None:
        costs = source.body / (source.hidden * source.vocabulary)
        analytic = new.vocabulary / source.vocabulary > source.tokens / new.tokens * costs
        slower = new.per_text > source.per_text
    return FertilityTrap(chrf > chrf_source and chrf_e_new < chrf_source, analytic, slower)
