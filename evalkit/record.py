"""The run folder: manifest, journal, rows, lock, resume. Knows how a run is kept, not how answers come about."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from evalkit.codec import row_of, row_record
from evalkit.errors import IdentityError, RunError, RunLocked, Stopped
from evalkit.journal import Journal, read_journal
from evalkit.jsonl import dump, write_atomic
from evalkit.types import Row, Run

SCHEMA = 1
FINISHED = "finished"


def new_run_id() -> str:
    """Return a name for a run: UTC time to the second and six random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def read_run(path: str | Path) -> Run:
    """Read a finished run from its folder.

    Raises:
        RunError: there is no run, it is not finished, or a file of it is damaged or of a newer schema.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if manifest["status"] != FINISHED:
        raise RunError(f"{folder}: the run is not finished; `evalkit run --resume {folder}` completes it")
    return Run(id=manifest["id"], manifest=manifest, rows=tuple(read_rows(folder)), summary=_read_summary(folder))


def read_rows(folder: Path) -> Iterator[Row]:
    """Yield the rows of a finished run, one at a time."""
    path = folder / "rows.jsonl"
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield row_of(json.loads(line))
                except (ValueError, KeyError, TypeError) as fault:
                    raise RunError(f"{path}: line {number} is damaged ({fault}); `evalkit score` makes the file anew") from None
    except OSError as fault:
        raise RunError(f"{path}: cannot be read: {fault.strerror}") from None


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "summary.json").read_bytes()))
    except (OSError, ValueError, TypeError) as fault:
        raise RunError(f"{folder}/summary.json: damaged ({fault}); `evalkit score {folder}` makes a run anew from its rows") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and verify manifest.json; see the raised RunError for what may be wrong."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise RunError(f"{folder}: no run here (no manifest.json); a run is the folder that `evalkit run` printed last")
    try:
        manifest = json.loads(path.read_bytes())
        schema, check = manifest["schema"], manifest.pop("check")
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise RunError(f"{path}: damaged ({type(fault).__name__}: {fault})") from None
    if isinstance(schema, int) and schema > SCHEMA:
        raise RunError(f"{path}: run schema {schema} is newer than this evalkit's {SCHEMA}; update evalkit")
    if check != _check(manifest):
        raise RunError(f"{path}: damaged (its checksum does not fit its content)")
    return dict(manifest)


class RunFolder:
    """A run being written; held by one process at a time."""

    def __init__(self, path: Path, manifest: Mapping[str, Any], *, keep_prefix: bool = False) -> None:
        """Take the lock, then open the journal; use `create` or `open`."""
        self.path = path
        self._lock = _lock(path / "lock")
        self.manifest = dict(manifest)
        records, good, torn = read_journal(path / "journal.jsonl", keep_prefix=keep_prefix)
        self.answered = {(r["id"], r["trial"]): r for r in records}
        self.torn = torn
        self._journal = Journal(path / "journal.jsonl", good)

    @classmethod
    def create(cls, path: Path, manifest: Mapping[str, Any]) -> Self:
        """Make a folder that must not exist or be empty, and write its first manifest."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise RunError(f"{path}: the folder is not empty; give another --out, or `evalkit run --resume {path}`")
            first = {"schema": SCHEMA, "id": path.name, "status": "running", **manifest}
            _write_manifest(path, first)
        except FileExistsError:
            raise RunError(f"{path}: is a file; a run needs a folder") from None
        except OSError as fault:
            raise RunError(f"{path}: a run cannot be made here: {fault.strerror}") from None
        return cls(path, first)

    @classmethod
    def open(cls, path: Path, *, keep_prefix: bool = False) -> Self:
        """Open a run to go on with it; the manifest is read after the lock is held."""
        read_manifest(path)
        run = cls(path, {}, keep_prefix=keep_prefix)
        run.manifest = read_manifest(path)
        return run

    @property
    def finished(self) -> bool:
        """Say whether rows.jsonl is there and whole."""
        return bool(self.manifest["status"] == FINISHED)

    def check_identity(self, identity: Mapping[str, str]) -> None:
        """Refuse to go on with a run when anything that its answers depend on differs.

        Raises:
            IdentityError: names every differing field with both values.
        """
        kept = self.manifest["identity"]
        changed = [
            f"{key} was {_short(kept.get(key))}, is {_short(identity.get(key))}"
            for key in sorted({*kept, *identity})
            if kept.get(key) != identity.get(key)
        ]
        if changed:
            raise IdentityError(f"{self.path}: cannot be resumed, it depends on what has changed: {'; '.join(changed)}")

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Commit one batch of answers to the journal."""
        batch = [dict(record) for record in records]
        self._journal.append(batch)
        self.answered.update({(r["id"], r["trial"]): r for r in batch})

    def note_time(self, record: Mapping[str, Any]) -> None:
        """Add a line to telemetry.jsonl: seconds, speed, host, all that may differ between equal runs."""
        with contextlib.suppress(OSError), (self.path / "telemetry.jsonl").open("a", encoding="utf-8") as file:
            file.write(dump(record) + "\n")

    def finish(self, rows: Iterable[Row], summary: Mapping[str, Any]) -> None:
        """Write rows.jsonl and summary.json whole, then mark the run as finished."""
        try:
            write_atomic(self.path / "rows.jsonl", (dump(row_record(row)).encode() + b"\n" for row in rows))
            write_atomic(self.path / "summary.json", [dump(summary).encode() + b"\n"])
            self.update(status=FINISHED)
        except OSError as fault:
            raise Stopped(f"{self.path}: {fault.strerror} while the rows were written") from None

    def update(self, **changes: Any) -> None:
        """Change top-level fields of the manifest."""
        self.manifest |= changes
        _write_manifest(self.path, self.manifest)

    def close(self) -> None:
        """Close the journal and give the lock back."""
        self._journal.close()
        os.close(self._lock)


def _write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    whole = {**manifest, "check": _check(manifest)}
    text = json.dumps(whole, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1)
    write_atomic(path / "manifest.json", [text.encode() + b"\n"])


def _check(manifest: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(dump(manifest).encode()):08x}"


def _lock(path: Path) -> int:
    """Take the lock of a run and return its file handle; the file's content only serves the message."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(handle, 200).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise RunLocked(f"{path.parent}: another process works on this run ({holder}); wait for it or stop it") from None
    os.ftruncate(handle, 0)
    os.write(handle, f"pid {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
    return handle


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"
