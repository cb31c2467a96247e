"""Models: loading, checkpoints, head, scoring and writing."""
