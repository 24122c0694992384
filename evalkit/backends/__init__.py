"""Edges to models: each turns requests into responses, and knows nothing of suites, scores or tags."""

from __future__ import annotations


def cut(count: int, size: int) -> list[range]:
    """Cut `count` requests into consecutive batches of at most `size`."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
