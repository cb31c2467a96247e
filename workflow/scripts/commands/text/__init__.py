"""Commands of the phase text."""
