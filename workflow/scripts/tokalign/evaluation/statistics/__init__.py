"""Estimators, bootstrap and tests."""
