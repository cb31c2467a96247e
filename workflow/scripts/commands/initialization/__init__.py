"""Commands of the phase initialization."""
