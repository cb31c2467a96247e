"""What the rules look up: the only Python that knows results/ and the configuration together."""
