"""Baselines: runs that are pinned by name, with a reason, and kept whole; and the count of attempts against them.

    baselines/<name>/log.jsonl        a line each time the name was set: run, reason, day, sha256 of the rows
    baselines/<name>/<run id>/        manifest.json rows.jsonl summary.json, copied
    baselines/<name>/attempts.jsonl   a line each time the gate judged a candidate against it

A name never moves by itself: a PASS does not make the candidate the next baseline.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalkit.errors import RunError
from evalkit.jsonl import dump
from evalkit.record import finished_manifest
from evalkit.registry import did_you_mean
from evalkit.types import Run
from evalkit.verdict import Verdict

STORE = Path("baselines")
KEPT = ("manifest.json", "rows.jsonl", "summary.json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Pinned:
    """One setting of a baseline."""

    name: str
    """The baseline's name."""
    run: str
    """Id of the pinned run."""
    reason: str
    """Why it was set."""
    day: str
    """When it was set, UTC."""
    sha256: str
    """Digest of its rows."""


def set_baseline(name: str, run: Path, reason: str, store: Path = STORE) -> Pinned:
    """Pin a finished run under a name; what the name meant before stays in its log and its folder.

    Raises:
        RunError: the name or reason cannot be meant, or the folder is no finished run (Unfinished: not yet).
    """
    if not _NAME.fullmatch(name):
        raise RunError(f"baseline name {name!r}: expected letters, digits, dots, dashes and underscores")
    if not reason.strip():
        raise RunError("a baseline is set with a reason: --reason TEXT")
    run_id = str(finished_manifest(run)["id"])
    try:
        pinned = Pinned(name, run_id, reason.strip(), _today(), _digest(run / "rows.jsonl"))
        _copy(run, store / name / run_id)
    except OSError as fault:
        raise RunError(f"{run}: no finished run to pin ({fault})") from None
    _append(
        store / name / "log.jsonl", {"run": run_id, "reason": pinned.reason, "day": pinned.day, "sha256": pinned.sha256}
    )
    return pinned


def history(name: str, store: Path = STORE) -> tuple[Pinned, ...]:
    """Return every setting of a baseline, the one that counts last.

    Raises:
        RunError: nothing is pinned under this name.
    """
    path = store / name / "log.jsonl"
    if not _NAME.fullmatch(name) or not path.is_file():
        known = [entry.name for entry in _folders(store)]
        hint = did_you_mean(name, known) if known else "; `evalkit baseline set` pins one"
        raise RunError(f"no baseline {name!r} in {store}{hint}")
    return tuple(Pinned(name, **record) for record in _read(path))


def list_baselines(store: Path = STORE) -> tuple[Pinned, ...]:
    """Return what every name stands for now, by name."""
    return tuple(history(entry.name, store)[-1] for entry in _folders(store))


def find_baseline(given: str, store: Path = STORE) -> Path:
    """Return the run folder that a name or a path stands for; a pinned run must still hold the rows pinned then."""
    if (Path(given) / "manifest.json").is_file():
        return Path(given)
    pinned = history(given, store)[-1]
    folder = store / given / pinned.run
    if not (folder / "rows.jsonl").is_file() or _digest(folder / "rows.jsonl") != pinned.sha256:
        raise RunError(f"{folder}: the rows are not those that were pinned on {pinned.day}; set the baseline anew")
    return folder


def count_attempt(path: Path, candidate: Run, verdict: Verdict) -> int:
    """Note that a candidate was judged; return how many runs of its checkpoint this baseline has seen.

    The same run judged again is no new attempt; a new run of the same weights is.
    """
    model = {k: v for k, v in sorted(candidate.manifest["identity"].items()) if k.startswith("model.")}
    key = {"baseline": verdict.baseline, "model": hashlib.sha256(dump(model).encode()).hexdigest()}
    run = str(candidate.manifest.get("made", candidate.id))
    seen = {r["run"] for r in _read(path) if all(r.get(k) == v for k, v in key.items())} if path.is_file() else set()
    if run not in seen:
        _append(path, {**key, "run": run, "verdict": verdict.verdict, "day": _today()})
    return len(seen | {run})


def _folders(store: Path) -> list[Path]:
    return sorted(entry for entry in store.iterdir() if (entry / "log.jsonl").is_file()) if store.is_dir() else []


def _copy(run: Path, target: Path) -> None:
    """Copy what is kept of a run, whole or not at all."""
    if _holds(target, run):
        return
    half = target.with_name(f".{target.name}-{secrets.token_hex(3)}")
    half.mkdir(parents=True)
    try:
        for name in KEPT:
            shutil.copyfile(run / name, half / name)
        half.rename(target)
    except OSError:
        if not _holds(target, run):  # another process may have pinned the same run meanwhile
            raise
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _holds(target: Path, run: Path) -> bool:
    return (target / "rows.jsonl").is_file() and _digest(target / "rows.jsonl") == _digest(run / "rows.jsonl")


def _append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line, whole, whoever else adds one; what a killed process left of its own is cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(dump(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        *whole, _ = path.read_bytes().split(b"\n")
        return [json.loads(line) for line in whole if line]
    except (OSError, ValueError) as fault:
        raise RunError(f"{path}: damaged ({fault})") from None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
