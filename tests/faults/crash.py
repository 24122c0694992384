"""A run whose process dies, or whose disk fails, at every single write, sync and rename, one after the other.

Each try is a forked process, so hundreds take seconds. What a try left is completed by `--resume` (or made again, where
a command resumes nothing) and compared, byte by byte, with what a run left alone gave.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from evalkit.cli import call

RESULTS = ("rows.jsonl", "summary.json")
KILLED = -signal.SIGKILL
CALLS = ((os, "write"), (os, "fsync"), (os, "fdatasync"), (os, "replace"), (os, "ftruncate"), (tempfile, "mkstemp"))
"""What reaches the disk: each call is one event."""


@dataclass
class Disk:
    """The disk of a forked process: at event number `at` it fails in one of four ways."""

    at: int
    how: str
    """`kill` before the event, `tear` half of it and kill, `full` once, or `stays full` from then on."""
    seen: int = 0
    real: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def install(self) -> None:
        """Put this disk where the process calls the system's."""
        for module, name in CALLS:
            self.real[name] = getattr(module, name)
            setattr(module, name, self._guard(name))

    def _guard(self, name: str) -> Callable[..., Any]:
        def event(*given: Any, **named: Any) -> Any:
            self.seen += 1
            if self.seen == self.at or (self.how == "stays full" and self.seen > self.at):
                self._fail(name, given)
            if name in ("fsync", "fdatasync"):
                return None  # only a power cut needs it, and it takes a millisecond
            return self.real[name](*given, **named)

        return event

    def _fail(self, name: str, given: tuple[Any, ...]) -> None:
        if "full" in self.how:
            if name in ("write", "fsync", "fdatasync", "mkstemp", "replace"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return  # cutting a file needs no room
        if self.how == "tear" and name == "write":
            self.real["write"](given[0], given[1][: len(given[1]) // 2])
        if self.how == "tear" and name == "fsync" and (size := os.fstat(given[0]).st_size) and _is_file(given[0]):
            self.real["ftruncate"](given[0], size // 2)
        os.kill(os.getpid(), signal.SIGKILL)


def _is_file(handle: int) -> bool:
    return os.readlink(f"/proc/self/fd/{handle}").rpartition("/")[2].startswith(".")


@dataclass
class Tally:
    """What became of the tries."""

    tried: int = 0
    lost: int = 0
    """Rows that are missing at the end."""
    differing: int = 0
    """Bytes that differ at the end."""
    codes: Counter[int] = field(default_factory=Counter)
    """Exit codes of the processes that failed."""
    faults: list[str] = field(default_factory=list)
    """Tries that ended otherwise than promised, a line each."""

    def compare(self, whole: Path, cut: Path, which: str) -> None:
        """Count what a completed run lacks."""
        lost, differing = difference(whole, cut)
        self.tried, self.lost, self.differing = self.tried + 1, self.lost + lost, self.differing + differing
        if lost or differing:
            self.faults.append(f"{which}: {lost} rows lost, {differing} bytes differ")


def difference(whole: Path, cut: Path, names: Sequence[str] = RESULTS) -> tuple[int, int]:
    """Return the lines that `cut` lacks and the bytes in which the files differ."""
    lost = differing = 0
    for name in names:
        one, two = (path.read_bytes() if path.is_file() else b"" for path in (whole / name, cut / name))
        lost += max(0, one.count(b"\n") - two.count(b"\n"))
        differing += abs(len(one) - len(two)) + sum(a != b for a, b in zip(one, two, strict=False) if one != two)
    return lost, differing


def forked(arguments: Sequence[str], said: Path, disk: Disk | None = None) -> int:
    """Run a command in a forked process and return its exit code; what it prints goes to a file."""
    child = os.fork()
    if child == 0:
        _child(arguments, said, disk)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _child(arguments: Sequence[str], said: Path, disk: Disk | None) -> NoReturn:
    code = 70
    try:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115 - until the end
        if disk:
            disk.install()
        code = call([*arguments])
        sys.stdout.flush()
        if disk:
            said.with_suffix(".seen").write_text(str(disk.seen))
    finally:
        os._exit(code)


def _seen(said: Path) -> int | None:
    """Return the events that the last process saw, and forget them; None where it did not live to tell."""
    note = said.with_suffix(".seen")
    try:
        return int(note.read_text())
    except OSError:
        return None
    finally:
        note.unlink(missing_ok=True)


@dataclass
class Crash:
    """One command, the folder that it writes, and how it is completed."""

    work: Path
    """An empty folder."""
    start: tuple[str, ...]
    """The command without `--out`."""
    resumes: bool = True
    """Whether `evalkit run --resume` completes it; otherwise it is made again in another folder."""
    tally: Tally = field(default_factory=Tally)

    def everywhere(self, how: str, *, twice: bool = False) -> Tally:
        """Fail at every event of the command; with `twice` at every third, and then at each of completing it."""
        whole, cut = self.work / "whole", self.work / "cut"
        if not whole.exists():
            with contextlib.redirect_stdout(io.StringIO()):
                assert call([*self.start, "--out", str(whole)]) == 0  # here: forked processes have all modules then
        at = 1
        while self._broken((*self.start, "--out", str(cut)), Disk(at, how)):
            if twice:
                self._again(how, cut, f"{how} at event {at}")
            else:
                self._completed(whole, cut, f"{how} at event {at}")
            at += 3 if twice else 1
            shutil.rmtree(cut, ignore_errors=True)
        assert at > 5, "the command wrote nothing"
        return self.tally

    def _again(self, how: str, cut: Path, which: str) -> None:
        """Complete what is in `cut` and fail at every event of that; then complete it."""
        kept, at = self.work / "kept", 1
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(cut, kept)
        while self._broken(self._completing(cut), Disk(at, how)):
            self._completed(self.work / "whole", cut, f"{which}, then at event {at} of completing")
            at += 1
            shutil.rmtree(cut)
            shutil.copytree(kept, cut)

    def _broken(self, arguments: Sequence[str], disk: Disk) -> bool:
        """Run a command on a failing disk; say whether it came to the failing event. A failure is one promised line."""
        said = self.work / "said"
        code, seen = forked(arguments, said, disk), _seen(said)
        text = said.read_text(encoding="utf-8")
        if code:
            self.tally.codes[code] += 1
        if code not in (0, KILLED) and (code not in (2, 4) or "No space left on device" not in text):
            self.tally.faults.append(f"{disk.how} at event {disk.at} of {arguments[0]}: exit {code}: {text[-300:]}")
        return seen is None or seen >= disk.at

    def _completing(self, cut: Path) -> tuple[str, ...]:
        if self.resumes and (cut / "manifest.json").is_file():
            return ("run", "--resume", str(cut))
        if not self.resumes:
            shutil.rmtree(cut, ignore_errors=True)
        return (*self.start, "--out", str(cut))

    def _completed(self, whole: Path, cut: Path, which: str) -> None:
        code = forked(self._completing(cut), self.work / "said")
        if code:
            self.tally.faults.append(f"{which}: completing ends with {code}: {(self.work / 'said').read_text()[-300:]}")
        self.tally.compare(whole, cut, which)


def main() -> None:
    """Run `crash WORK HOW once|twice resumes|anew COMMAND…` and print what became of the tries as JSON."""
    work, how, times, mends, *command = sys.argv[1:]
    crash = Crash(Path(work), tuple(command), resumes=mends == "resumes")
    tally = crash.everywhere(how, twice=times == "twice")
    print(json.dumps({**asdict(tally), "codes": {str(code): n for code, n in tally.codes.items()}}))


if __name__ == "__main__":
    main()
