"""Edges to models: each turns requests into responses, and knows nothing of suites, scores or tags."""

from __future__ import annotations

import os

# Threads that wait by spinning take the core from the thread they wait for as soon as anything else runs: on a shared
# machine with two cores small matrix products became 14 times slower. It must be set before torch loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def cut(count: int, size: int) -> list[range]:
    """Cut `count` requests into consecutive batches of at most `size`."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
