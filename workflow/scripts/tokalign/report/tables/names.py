"""The tables of results; imports nothing, since the rules read this module at every start."""

TABLES = {
    "results": "All metrics, systems side by side",
    "criteria": "Success criteria and outcomes",
    "bits_per_byte": "Bits per byte, stages side by side",
    "perplexity": "Bits per byte and perplexity of every checkpoint",
    "tokenizers": "Tokenizers: fertility, compression and others",
    "seeds": "Mean and deviation over seeds",
    "comparison": "Everything: differences, intervals, tests",
    "alignments": "Alignments: tokens by category",
    "alignment_scores": "Alignments: scores on held-out text, without a model",
    "training": "Training: every logged step",
    "runs": "Results: seconds, devices, digests",
    "durations": "How long each rule took",
}
"""Title in the report by name; the caption is in workflow/report/tables/NAME.rst."""
