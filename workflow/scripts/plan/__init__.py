"""Look-ups of the rules: the only Python that knows both results/ and the configuration."""
