"""Read and write JSON lines: strict, with file, line and column in every complaint. Knows no schema of ours."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from evalkit.errors import EvalkitError

MAX_LISTED = 20
MAX_DEPTH = 100
"""Lists and objects inside each other that a value may have; far below what recursion can walk."""
_NOT_JSONL = {
    b"\x1f\x8b": "gzip; unpack it first (gunzip)",
    b"PK": "a zip archive; unpack it first (unzip)",
    b"\xff\xfe": "UTF-16; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
}


def read_jsonl(path: Path, error: type[EvalkitError] = EvalkitError) -> list[tuple[int, dict[str, Any]]]:
    """Return what `each_jsonl` yields."""
    return list(each_jsonl(path, error))


def each_jsonl(path: Path, error: type[EvalkitError] = EvalkitError) -> Iterator[tuple[int, dict[str, Any]]]:
    r"""Yield (line number from 1, object) of each line that is not blank.

    Lines end in "\n" alone; a byte order mark and "\r" before the end are dropped; lone surrogates become U+FFFD.

    Raises:
        error: the file cannot be read, or, at the end, lines are not JSON objects; up to 20 are listed.
    """
    faults: list[str] = []
    for number, line in _lines(path, error):
        try:
            row = parse_object(line)
        except ValueError as fault:
            faults.append(f"line {number}, {fault}")
            if len(faults) > MAX_LISTED:
                break
        else:
            yield number, row
    if faults:
        more = "; and more" if len(faults) > MAX_LISTED else ""
        raise error(f"{path}: expected one JSON object a line: {'; '.join(faults[:MAX_LISTED])}{more}")


def parse_object(line: bytes) -> dict[str, Any]:
    """Parse one line as a JSON object; ValueError says the column and what is wrong with it."""
    try:
        text = line.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
    except UnicodeDecodeError as fault:
        raise ValueError(f"column {fault.start + 1}: not UTF-8") from None
    except json.JSONDecodeError as fault:
        raise ValueError(f"column {fault.colno}: {fault.msg}") from None
    except RecursionError:
        raise ValueError("column 1: nested too deeply") from None
    except ValueError as fault:
        raise ValueError(f"column 1: {str(fault).split(';')[0]}") from None
    return _sound(value, line)


def parse_own(line: bytes) -> dict[str, Any]:
    """Parse one line of a file that we wrote, or have read before: twice as fast, blind to repeated keys."""
    return _sound(_OWN.decode(line.decode("utf-8")), line)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the cycle collector while records without cycles are built: over millions it takes half of the time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def scrub(value: Any) -> Any:
    """Return a JSON value with lone surrogates, which no UTF-8 file can hold, replaced by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [scrub(item) for item in value]
    if isinstance(value, dict):
        return {scrub(key): scrub(item) for key, item in value.items()}
    return value


def dump(value: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces, no NaN, text as it is."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_atomic(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file so that it is either whole or absent: temporary file, fsync, rename, fsync of the folder."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lines(path: Path, error: type[EvalkitError]) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    _refuse_other_formats(path, line, error)
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, line.rstrip(b"\r\n")
    except OSError as fault:
        raise error(f"{path}: cannot be read: {fault.strerror}") from None


def _refuse_other_formats(path: Path, start: bytes, error: type[EvalkitError]) -> None:
    for magic, name in _NOT_JSONL.items():
        if start.startswith(magic):
            raise error(f"{path}: expected JSON lines in UTF-8, found {name}")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"number {number[:20]} is too large")
    return value


def _sound(value: Any, line: bytes) -> dict[str, Any]:
    """Return an object that can be walked and written again; refuse any other value."""
    if not isinstance(value, dict):
        raise ValueError(f"column 1: {type(value).__name__}, not an object")
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError("column 1: nested too deeply")
    return scrub(value) if b"\\ud" in line or b"\\uD" in line else value


_OWN = json.JSONDecoder(parse_constant=_refuse)


def _depth(value: Any) -> int:
    """Count the lists and objects inside each other, level by level."""
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [item for v in level for item in (v.values() if isinstance(v, dict) else v)]
    return depth


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} stands twice")
    return found
