"""Data that suites measure on: held-out text and test sets."""
