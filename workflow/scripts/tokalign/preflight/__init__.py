"""Checks and estimates of what a run needs, before its first job."""
