"""Commands of the phase fetch."""
