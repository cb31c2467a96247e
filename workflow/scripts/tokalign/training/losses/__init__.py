"""Losses of a stage."""
