"""Commands of the phase vectors."""
