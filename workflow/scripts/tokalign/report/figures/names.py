"""Names of the metrics that figures read, as in the comparison and in words.

A renamed metric changes only here.
"""

from __future__ import annotations

FERTILITY = "fertility"
BYTES_PER_TOKEN = "bytes_per_token"
CONTINUED_WORDS = "continued_words"
SINGLE_TOKEN_WORDS = "single_token_words"
BITS_PER_BYTE = "bits_per_byte"
NORMALIZED_PERPLEXITY = "normalized_perplexity"
CHANCE = "chance"
BLEU = "bleu"
CHRF = "chrf++"
TER = "ter"
COMET = "comet"
LENGTH_RATIO = "length_ratio"
CHRF_DELTA = "chrf_delta"
CHRF_E = "chrf_e_bytes"
DISTINCT = ("distinct_1", "distinct_2", "distinct_3")
REPETITION = "repetition_rate"
SELF_BLEU = "self_bleu"
READ_BYTES = "prefill_bytes_per_second"
WRITTEN_BYTES = "decode_bytes_per_second"
READ_TOKENS = "prefill_tokens_per_second"
WRITTEN_TOKENS = "decode_tokens_per_second"
FIRST_TOKEN = "first_token_seconds_p50"
PEAK_MEMORY = "peak_memory"

METRICS = {
    FERTILITY: "fertility (tokens per word)",
    BYTES_PER_TOKEN: "UTF-8 bytes per token",
    CONTINUED_WORDS: "words of several tokens (PCW)",
    SINGLE_TOKEN_WORDS: "words of a single token (STRR)",
    BITS_PER_BYTE: "bits per byte",
    NORMALIZED_PERPLEXITY: "normalized perplexity",
    BLEU: "BLEU",
    CHRF: "chrF++",
    TER: "TER",
    COMET: "COMET",
    LENGTH_RATIO: "length of output / reference",
    CHRF_DELTA: "chrF-Δ (chrF++ minus BLEU)",
    CHRF_E: "chrF-E (chrF++ × speed in bytes / that of the source)",
    **{name: name.replace("_", "-") for name in DISTINCT},
    REPETITION: "repetition",
    SELF_BLEU: "Self-BLEU",
    READ_BYTES: "bytes read per second",
    WRITTEN_BYTES: "bytes written per second",
    READ_TOKENS: "tokens read per second",
    WRITTEN_TOKENS: "tokens written per second",
    FIRST_TOKEN: "time to the first token, median",
    PEAK_MEMORY: "peak memory",
}
"""In words."""
ACCURACIES = ("acc_norm", "acc", "accuracy", "exact_match", "f1")
"""Task metrics that are shares of correct answers; the first one a task has represents it."""
LENGTHS = ("bytes", "characters", "", "raw")
"""Conditions of multiple-choice sets, also in order of preference."""


def is_accuracy(metric: str) -> bool:
    """Return whether a metric is a share of correct answers; a filter may follow, as in ``exact_match,strict-match``."""
    return metric.partition(",")[0] in ACCURACIES
