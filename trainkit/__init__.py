"""Turn errors into a better model."""
