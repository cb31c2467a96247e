"""The configuration: checks, defaults, experiments, and the tables that document it."""
