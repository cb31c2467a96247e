"""Commands of the phase report."""
