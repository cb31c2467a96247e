"""Column names of results and of the comparison; imports nothing, so that tables and figures need no model library."""

ALL = "all"
"""Language and domain of a group that is not split by them."""
GROUP = ("dataset", "condition", "language", "domain")
"""What a metric is computed for; the condition is how, such as ``greedy`` (empty if there is only one way)."""
ITEM_COLUMNS = (*GROUP, "id")
"""Name of an item (strings); together they are unique."""
LABELS = ("model", "tokenizer", "corpus", "alignment", "recipe", "seed", "stage")
COLUMNS = (
    "suite", "system", *GROUP, "metric", "value", "ci_low", "ci_high", "n", "items", "unit", "better", "baseline", "baseline_value",
    "difference", "difference_ci_low", "difference_ci_high", "relative_difference", "p", "p_corrected", "tests", "cohens_d", "verdict",
    "level", "origin", "role", "evaluation", *LABELS,
)  # fmt: skip
"""Columns of the comparison; a row is a metric of a system on a group of items, and of its baseline on the same items."""
