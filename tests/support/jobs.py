"""Jobs of a tiny project, by rule."""

from __future__ import annotations

SHOWN = {"compare_models": 1, "make_tables": 1, "write_summary": 1, "draw_figure": 8}


ALIGNED_MODEL = {"initialize_model": 1, "train_stage": 2, "evaluate_perplexity": 3}  # of tokalign: initialized, two stages
