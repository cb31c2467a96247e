"""Commands of the phase evaluation."""
