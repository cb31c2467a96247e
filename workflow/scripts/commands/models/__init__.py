"""Commands of the phase models."""
