"""Commands of the phase training."""
