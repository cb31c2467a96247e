"""Commands of the phase preflight."""
