"""Ways to find a target token's row; no imports, so that tables and figures stay light."""

CATEGORIES = ("special", "exact", "imported", "aligned", "mined", "decomposed", "mean", "normal", "zero", "random")
