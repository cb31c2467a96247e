"""What is known of clusters: Slurm's formats and queue, GPUs, orphaned jobs."""
