"""Edges to models: each turns requests into responses, and knows nothing of suites, scores or tags."""

from __future__ import annotations

import os

from evalkit.types import Request

# Threads that wait by spinning take the core from the thread they wait for as soon as anything else runs: on a shared
# machine with two cores small matrix products became 14 times slower. Threads that sleep at once wake too late: a
# decoding step took a quarter longer. So they spin for some microseconds (libgomp), then sleep. It must be set before
# torch loads OpenMP.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def cut(count: int, size: int) -> list[range]:
    """Cut `count` requests into consecutive batches of at most `size`."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def sent_of(request: Request) -> str:
    """Return what a backend that renders no chat template sends: the prompt, or the turns one under the other."""
    return request.prompt or "\n".join(f"{turn.role}: {turn.content}" for turn in request.messages)
