"""Scorers: is the answer right? Each is a frozen dataclass called with (Example, Response)."""
