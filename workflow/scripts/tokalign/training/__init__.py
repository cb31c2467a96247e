"""Training of a stage."""
