"""Suites: what each measures, a file or folder each."""
