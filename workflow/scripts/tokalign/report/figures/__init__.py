"""Figures, each drawn from one table."""
