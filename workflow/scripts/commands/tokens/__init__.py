"""Commands of the phase tokens."""
