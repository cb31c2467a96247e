"""Commands of the phase config."""
