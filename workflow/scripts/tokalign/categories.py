"""How a target token's row can have been found; apart from the alignment, so that tables and figures need none of its packages."""

CATEGORIES = ("special", "exact", "aligned", "decomposed", "random")
