"""Taggers: what is wrong with the answer? Each is a frozen dataclass called with a Row."""
