"""Methods that give rows of an alignment, one file each; registry.py names them."""
