"""Fuzz one target after the other and write what came of it: `python -m tests.faults.campaign --logs DIR`.

Each target is a process of its own (see `fuzz`), whose log stands in DIR. A target whose log says that it is done is
not tried again, so that a campaign of hours can go on where it was stopped.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evalkit.report.markdown import grid
from tests.faults.broken import TARGETS

HEAD = ("target", "file", "seconds", "tries", "branches", "crashes")
PAGE = """\
# Fuzzing

`make fuzz` feeds broken files to whatever reads files from others, under atheris: changes of a good file that reach
new code are changed further. Anything but an error of ours in one line is a crash, and stops its target. It writes
this page. Branches are those of evalkit and trainkit that the inputs reached. What was found is a test now:
`tests/faults/test_fuzz.py::test_what_the_fuzzer_found_is_an_error_of_ours_or_is_read`.

{table}
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one target."""

    target: str
    """Its name."""
    seconds: int
    """How long it was tried."""
    tries: int
    """Inputs read."""
    branches: int
    """Branches of our code that were reached."""
    crash: str
    """What came out, where it was no error of ours; empty where nothing did."""

    def line(self) -> tuple[str, ...]:
        """Return the row of the table."""
        shown = f"{self.seconds}", f"{self.tries:,}", f"{self.branches:,}", self.crash or "0"
        return f"`{self.target}`", f"`{TARGETS[self.target].file}`", *shown


def result_of(target: str, log: str) -> Result | None:
    """Read the log of a target; None where it did not end."""
    reached = [int(number) for number in re.findall(r"\bcov: (\d+)", log)]
    crash = re.search(r"=== Uncaught Python exception: ===\n(.*)", log)
    if crash or "ERROR: libFuzzer" in log:
        tries = re.findall(r"^#(\d+)", log, re.MULTILINE)
        return Result(
            target, 0, int(tries[-1]) if tries else 0, max(reached, default=0), crash[1] if crash else "ended"
        )
    done = re.search(r"^Done (\d+) runs in (\d+) second", log, re.MULTILINE)
    return Result(target, int(done[2]), int(done[1]), max(reached, default=0), "") if done else None


def fuzzed(target: str, logs: Path, seconds: int) -> Result:
    """Try a target, unless its log says that it is done."""
    path = logs / f"{target}.log"
    known = result_of(target, path.read_text(errors="replace")) if path.exists() else None
    if known is None or known.crash:
        command = [sys.executable, "-m", "tests.faults.fuzz", target, "--seconds", str(seconds)]
        with path.open("wb") as file:
            subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
        known = result_of(target, path.read_text(errors="replace"))
    print(known or f"{target}: no result, see {path}", file=sys.stderr)
    return known or Result(target, 0, 0, 0, "ended early")


def main() -> int:
    """Try the targets and write the page; return how many crashed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="default: all")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--report", type=Path, help="the page")
    given = parser.parse_args()
    given.logs.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        results = list(pool.map(partial(fuzzed, logs=given.logs, seconds=given.seconds), given.targets or TARGETS))
    if given.report:
        given.report.write_text(PAGE.format(table="\n".join(grid(HEAD, [r.line() for r in results]))), encoding="utf-8")
    return sum(bool(result.crash) for result in results)


if __name__ == "__main__":
    sys.exit(main())
