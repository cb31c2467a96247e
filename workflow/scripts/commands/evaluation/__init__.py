"""Commands of the evaluation phase."""
