"""Tasks of lm-evaluation-harness, offline."""
