"""Look for files that break a reader, under atheris: `python -m tests.faults.fuzz TARGET --seconds N`.

`make fuzz` runs all targets. An input is either the file itself, or the seed of changes to a good file (see `broken`).
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["evalkit", "trainkit"]):
    from tests.faults.broken import TARGETS, mutant, tried

WHOLE = 0x40
"""First bytes below this mark an input that is the file itself."""


def main() -> None:
    """Run one target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="how long")
    given = parser.parse_args()
    target, memory = TARGETS[given.target], Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None)) / "case"

    def one(data: bytes) -> None:
        whole = bool(data) and data[0] < WHOLE
        tried(target, data[1:] if whole else mutant(target.good, random.Random(data)), folder)

    limits = (f"max_total_time={given.seconds}", "max_len=4096", "timeout=20", "rss_limit_mb=4096")
    atheris.Setup([sys.argv[0], *(f"-{limit}" for limit in limits)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
