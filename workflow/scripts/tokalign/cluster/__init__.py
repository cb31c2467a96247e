"""Clusters: Slurm's formats and queue, known GPUs, orphaned jobs."""
