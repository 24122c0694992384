"""The run folder being written: lock, journal, rows, resume. Knows how a run is kept, not how answers come about."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from evalkit.codec import row_record
from evalkit.errors import IdentityError, RunError, RunLocked, Stopped
from evalkit.journal import Journal, read_journal
from evalkit.jsonl import dump, write_atomic
from evalkit.record import ANSWERED, FINISHED, SCHEMA, by_key, checksum_of, read_manifest, resume_command
from evalkit.types import Row

_log = logging.getLogger(__name__)
_FILES = ("manifest.json", "journal.jsonl", "rows.jsonl", "telemetry.jsonl", "summary.json", "lock")
_BESIDE = ("judgements.jsonl",)
"""What else a run holds that answers in a new folder still need."""


def new_run_id() -> str:
    """Return a name for a run: UTC time to the second and six random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


class RunFolder:
    """A run being written; held by one process at a time, until it is closed."""

    def __init__(self, path: Path, manifest: Mapping[str, Any] | None = None) -> None:
        """Take the lock, write or read the manifest, open the journal; use `create` or `open`."""
        self.path = path
        self._lock: int | None = _lock(path / "lock")
        try:
            for stale in _unfinished(path):
                stale.unlink()
            if manifest is not None:
                _refuse_content(path)
                _write_manifest(path, manifest)
            self.manifest = read_manifest(path)
            records, good, torn = read_journal(path / "journal.jsonl")
            self.answered = by_key(path, records)
            self._journal = Journal(path / "journal.jsonl", good)
        except BaseException:
            os.close(self._lock)
            raise
        if torn:
            _log.warning("%s: %d bytes of a torn line were cut off; that answer is asked again", path, torn)

    @classmethod
    def create(cls, path: Path, manifest: Mapping[str, Any]) -> Self:
        """Make a folder that must not exist or be empty, and write its first manifest."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            _refuse_content(path)
            made = {"id": path.resolve().name, "made": new_run_id()}  # folders may share a name, runs do not
            return cls(path, {"schema": SCHEMA, **made, "status": "running", **manifest})
        except FileExistsError:
            raise RunError(f"{path}: is a file; a run needs a folder") from None
        except OSError as fault:
            raise RunError(f"{path}: a run cannot be made here: {fault.strerror}") from None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run to go on with it; the manifest that counts is read while the lock is held."""
        read_manifest(path)
        for name in _FILES:
            if (path / name).is_symlink():
                raise RunError(f"{path / name}: is a symbolic link; a run is resumed only where its own files are")
        return cls(path)

    def __enter__(self) -> Self:
        """Return the run."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the run, whatever happened."""
        self.close()

    @property
    def complete(self) -> bool:
        """Say whether all that was asked is answered, and what is made of it is written."""
        return self.manifest["status"] in (FINISHED, ANSWERED)

    def check_identity(self, identity: Mapping[str, str]) -> None:
        """Refuse to go on with a run when anything that its answers depend on differs.

        Raises:
            IdentityError: names every differing field with both values.
        """
        if changed := differences(self.manifest["identity"], identity):
            raise IdentityError(f"{self.path}: cannot be resumed, it depends on what has changed: {changed}")

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Commit one batch of answers to the journal."""
        batch = [dict(record) for record in records]
        self._journal.append(batch)
        self.answered.update({(record["id"], record["trial"]): record for record in batch})

    def note_time(self, record: Mapping[str, Any]) -> None:
        """Add a line to telemetry.jsonl: seconds, speed, host, all that may differ between equal runs."""
        with contextlib.suppress(OSError), (self.path / "telemetry.jsonl").open("a", encoding="utf-8") as file:
            file.write(dump(record) + "\n")

    def finish(self, rows: Iterable[Row], summary: Callable[[], Mapping[str, Any]]) -> None:
        """Write rows.jsonl whole, then summary.json, which is asked for after the rows; mark the run as finished."""
        try:
            digest = hashlib.sha256()
            write_atomic(
                self.path / "rows.jsonl", _hashed((dump(row_record(row)).encode() + b"\n" for row in rows), digest)
            )
            write_atomic(self.path / "summary.json", [dump(summary()).encode() + b"\n"])
            self.update(status=FINISHED, rows_sha256=digest.hexdigest())
        except OSError as fault:
            raise Stopped(f"{self.path}: {fault.strerror} while the rows were written") from None

    def update(self, **changes: Any) -> None:
        """Change top-level fields of the manifest.

        Raises:
            Stopped: the disk is full or the file cannot be written; the manifest is as it was.
        """
        changed = self.manifest | changes
        try:
            _write_manifest(self.path, changed)
        except OSError as fault:
            raise Stopped(f"{self.path}/manifest.json: {fault.strerror} while it was written") from None
        self.manifest = changed

    def warn(self, remarks: Iterable[str]) -> None:
        """Add warnings to the manifest, each once."""
        known = self.manifest.get("warnings", [])
        if added := [remark for remark in dict.fromkeys(remarks) if remark not in known]:
            self.update(warnings=[*known, *added])

    def close_part(self) -> Path:
        """Mark one part of a run as answered, and return where it is."""
        self.update(status=ANSWERED)
        return self.path

    def close(self) -> None:
        """Close the journal and give the lock back; a second time does nothing."""
        if self._lock is not None:
            self._journal.close()
            os.close(self._lock)
            self._lock = None


def differences(kept: Mapping[str, str], identity: Mapping[str, str]) -> str:
    """Name every field that differs between two identities, with both values; empty where none does."""
    return "; ".join(
        f"{key} was {_short(kept.get(key))}, is {_short(identity.get(key))}"
        for key in sorted({*kept, *identity})
        if kept.get(key) != identity.get(key)
    )


def _hashed(lines: Iterable[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for line in lines:
        digest.update(line)
        yield line


def salvage(path: Path) -> Path:
    """Copy what stands before the first corrupt line of a run's journal into a new run beside it, and return that.

    The old run is left as it is.

    Raises:
        RunError: nothing is corrupt, or the new folder is there already.
    """
    manifest, target = read_manifest(path), path.resolve().with_name(f"{path.resolve().name}-prefix")
    lock = _lock(path / "lock")
    try:
        records, _, bad = read_journal(path / "journal.jsonl", prefix=True)
        if not bad:
            raise RunError(f"{path}: its journal is whole; resume it without --keep-prefix")
        fresh: dict[str, Any] = {key: manifest[key] for key in ("identity", "settings", "part") if key in manifest}
        with RunFolder.create(target, {**fresh, "prefix_of": manifest["id"]}) as run:
            run.append(records)
        for name in _BESIDE:
            if (path / name).is_file():
                shutil.copyfile(path / name, target / name)
    finally:
        os.close(lock)
    return target


def _unfinished(path: Path) -> set[Path]:
    """Return what is left of files that a killed process was writing."""
    return {stale for name in _FILES for stale in path.glob(f".{name}.*")}


def _refuse_content(path: Path) -> None:
    if any(entry.name != "lock" and entry not in _unfinished(path) for entry in path.iterdir()):
        raise RunError(f"{path}: the folder is not empty; give another --out, or {resume_command(path)}")


def _write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    whole = {**manifest, "check": checksum_of(manifest)}
    text = json.dumps(whole, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1)
    write_atomic(path / "manifest.json", [text.encode() + b"\n"])


def _lock(path: Path) -> int:
    """Take the lock of a run and return its file handle; the file's content only serves the message."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as fault:
        raise RunError(f"{path.parent}: cannot be written: {fault.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 200).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise RunLocked(
            f"{path.parent}: another process works on this run ({holder}); wait for it or stop it"
        ) from None
    with contextlib.suppress(OSError):  # a full disk: the lock holds without its text
        os.ftruncate(handle, 0)
        os.write(handle, f"pid {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
    return handle


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"
