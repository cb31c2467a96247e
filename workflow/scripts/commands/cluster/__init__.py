"""Commands of the phase cluster."""
