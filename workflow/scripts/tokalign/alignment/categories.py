"""How a target token's row can have been found; apart from the alignment, so that tables and figures need none of its packages."""

CATEGORIES = ("special", "exact", "imported", "aligned", "mined", "decomposed", "mean", "normal", "zero", "random")
