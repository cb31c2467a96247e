"""Names of what stands in results and in the comparison; imports nothing, so that tables and figures need no model library."""

ALL = "all"
"""Language and domain of a whole."""
GROUP = ("dataset", "condition", "language", "domain")
"""What a metric is given for: the text or task it is from, how it was done (such as ``greedy``; empty where there is one way)."""
ITEM_COLUMNS = (*GROUP, "id")
"""Of each item (strings); together they are unique."""
LABELS = ("model", "tokenizer", "corpus", "alignment", "recipe", "seed", "stage")
COLUMNS = (
    "suite", "system", *GROUP, "metric", "value", "ci_low", "ci_high", "n", "items", "unit", "better", "baseline", "baseline_value",
    "difference", "difference_ci_low", "difference_ci_high", "relative_difference", "p", "p_corrected", "tests", "cohens_d", "verdict",
    "level", "origin", "role", "evaluation", *LABELS,
)  # fmt: skip
"""Of a row of the comparison: a metric of a system on a group of items, beside that of its baseline on the same items."""
