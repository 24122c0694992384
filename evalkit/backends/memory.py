"""What torch says where memory runs out: on a graphics card by a kind of its own, on a processor in words."""

from __future__ import annotations

import re

_SAID = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)


def is_exhausted(fault: BaseException) -> bool:
    """Say whether a failure means that memory ran out."""
    return isinstance(fault, MemoryError) or (isinstance(fault, RuntimeError) and bool(_SAID.search(str(fault))))
