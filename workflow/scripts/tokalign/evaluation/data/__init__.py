"""Data of the suites: held-out text and test sets."""
