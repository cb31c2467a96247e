"""Commands of the phase alignment."""
