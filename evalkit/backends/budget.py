"""The token budget of a scoring pass: measured once for a checkpoint on a machine, then remembered in the cache.

Two runs plan alike and give the same bytes where they have the same budget; measured anew, it changes with the load of
the machine. Knows not how it is measured.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version

from evalkit.catalogue import read_cache, write_cache
from evalkit.jsonl import dump

FILE = "budgets.json"


def remembered_budget(identity: Mapping[str, str], measure: Callable[[], int]) -> int:
    """Return the budget that was measured for a model of this identity on this machine; measure it where none was."""
    facts = {key: value for key, value in identity.items() if key != "batch_tokens"}
    machine = [platform.node(), platform.machine(), os.cpu_count(), version("torch")]
    key = hashlib.sha256(dump([facts, machine]).encode()).hexdigest()[:32]
    kept = read_cache(FILE).get(key)
    if type(kept) is int and kept > 0:
        return kept
    measured = measure()
    write_cache(FILE, {**read_cache(FILE), key: measured})  # read anew: another process may have measured meanwhile
    return measured
