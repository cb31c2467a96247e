"""Evaluation: results, suites, statistics, comparison."""
