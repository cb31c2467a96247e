"""Ways to find a target token's row, in a module that imports nothing, for tables and figures."""

CATEGORIES = ("special", "exact", "imported", "aligned", "mined", "decomposed", "mean", "normal", "zero", "random")
