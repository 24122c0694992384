"""The append-only journal of a run: one line an answer, a checksum each, a torn tail cut off. Knows only bytes."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import RunError, Stopped
from evalkit.jsonl import dump

VERSION = 1
_ANSWERS = "`evalkit run --resume RUN --keep-prefix` goes on from the lines before it, in a new run"


class Journal:
    """An open journal; `append` is durable when it returns.

    A killed process loses at most the batch in flight; a power cut too, since each batch ends in one fdatasync.
    """

    def __init__(self, path: Path, good: int, kind: str = "row") -> None:
        """Open for appending at byte `good`, the end of the last whole line; what follows is cut off."""
        self.path, self.size, self.kind = path, good, kind
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as fault:
            raise RunError(f"{path}: cannot be written: {fault.strerror}") from None
        os.ftruncate(self._file, good)
        os.lseek(self._file, good, os.SEEK_SET)

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write one committed batch; on a full disk the file is cut back to the last committed batch.

        Raises:
            Stopped: the disk is full or the file cannot be written.
        """
        data = b"".join(_line(record, self.kind) for record in records)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fdatasync(self._file)
        except OSError as fault:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            raise Stopped(f"{self.path}: {fault.strerror} while {len(data):,} bytes were written") from None
        self.size += len(data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_journal(path: Path, *, prefix: bool = False, mend: str = _ANSWERS) -> tuple[list[dict[str, Any]], int, int]:
    """Return (records, bytes up to the end of the last good line, bytes after it).

    A last line that is torn is left out; with `prefix` everything from the first bad line on is. `mend` says what to do
    about a corrupt one.

    Raises:
        RunError: a line before the last is corrupt, or the journal is of a newer version.
    """
    records: list[dict[str, Any]] = []
    good = 0
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as fault:
        raise RunError(f"{path}: cannot be read: {fault.strerror}") from None
    for number, line in _numbered(data):
        record = _record(line)
        if record is None:
            last = good + len(line) == len(data)
            if not last and not prefix:
                raise RunError(f"{path}: line {number} is corrupt (checksum or form); {mend}")
            break
        if record["v"] != VERSION:
            raise RunError(f"{path}: line {number} is of journal version {record['v']}, this evalkit reads {VERSION}")
        records.append(record["r"])
        good += len(line)
    return records, good, len(data) - good


def _numbered(data: bytes) -> Iterator[tuple[int, bytes]]:
    *whole, tail = data.split(b"\n")
    return enumerate([line + b"\n" for line in whole] + ([tail] if tail else []), 1)


def _line(record: Mapping[str, Any], kind: str) -> bytes:
    body = dump(record)
    return f'{{"v":{VERSION},"k":"{kind}","c":"{zlib.crc32(body.encode()):08x}","r":{body}}}\n'.encode()


def _record(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        body = line[line.index(b'"r":') + 4 : -2]
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not {"v", "r"} <= record.keys() or record.get("c") != f"{zlib.crc32(body):08x}":
        return None
    return record
