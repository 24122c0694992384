"""Commands as processes of their own, from outside, as a user or a supervisor sees them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evalkit.cli import call

EVALKIT, TRAINKIT = (sys.executable, "-m", "evalkit"), (sys.executable, "-m", "trainkit")
ROOT = Path(__file__).parents[2]
RUNNING: list[subprocess.Popen[str]] = []
"""Processes that were started, until the test ends."""


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment with the package on the path, whatever folder the command runs in."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def ran(*arguments: object, program: tuple[str, ...] = EVALKIT, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    how = {"env": environment(), "timeout": 120, **how}
    return subprocess.run([*program, *map(str, arguments)], capture_output=True, text=True, check=False, **how)


def here(*arguments: object) -> int:
    """Run a command in this process, where its modules are loaded; return its exit code."""
    with contextlib.redirect_stdout(io.StringIO()):
        return call([*map(str, arguments)])


def started(*arguments: object, program: tuple[str, ...] = EVALKIT, **how: Any) -> subprocess.Popen[str]:
    """Start a command; what still runs at the end of the test is killed."""
    how = {"env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
    RUNNING.append(subprocess.Popen([*program, *map(str, arguments)], **how))
    return RUNNING[-1]


def end_all() -> None:
    """Kill what a test left running."""
    while RUNNING:
        process = RUNNING.pop()
        process.kill()
        process.communicate()


def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def crashed(work: Path, how: str, *command: object, times: str = "once", mends: str = "resumes") -> Mapping[str, Any]:
    """Fail at every event of a command (see `crash`) and return what became of the tries."""
    work.mkdir()
    done = ran(work, how, times, mends, *command, program=(sys.executable, "-m", "tests.faults.crash"), timeout=1200)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))
