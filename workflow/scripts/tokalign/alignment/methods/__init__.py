"""Alignment methods, one file each; registry.py lists them."""
