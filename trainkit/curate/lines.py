r"""A training file as its lines: rows read for curation, and edits written into the bytes they were made for.

Unlike `dataset`, an empty answer is a row here, and every row needs an id: an edit must name what it changes. Lines end
in "\n"; whatever else a line holds stays as it is unless an edit names it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.jsonl import MAX_LISTED, parse_object
from trainkit.curate.edits import CHANGING, REMOVING, Edit
from trainkit.dataset import ALPACA, TrainRow, row_of
from trainkit.errors import BadRow, TrainError

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class DataSet:
    """One version of a training set."""

    path: Path
    """Its file."""
    sha256: str
    """Hash of its bytes."""
    rows: tuple[TrainRow, ...]
    """Rows in file order; an answer may be empty."""
    hashes: Mapping[str, str]
    """Row id -> 16 hex digits of its line."""

    @cached_property
    def named(self) -> Mapping[str, TrainRow]:
        """Return id -> row."""
        return {row.id: row for row in self.rows}


def read_bytes(path: str | Path) -> bytes:
    """Read a file whole; a TrainError says why it cannot be."""
    try:
        return Path(path).read_bytes()
    except OSError as fault:
        raise TrainError(f"{path}: cannot be read: {fault.strerror}") from None


def read_data(path: str | Path) -> DataSet:
    """Read a training file for curation.

    Raises:
        TrainError: it cannot be read, or lines are no rows with an id of their own; up to 20 are listed.
    """
    return parse_data(read_bytes(path), Path(path))


def parse_data(raw: bytes, path: Path) -> DataSet:
    """Return the rows of a file's bytes; see `read_data`."""
    rows: list[TrainRow] = []
    hashes: dict[str, str] = {}
    faults: list[str] = []
    nameless: list[int] = []
    for number, line in enumerate(lines_of(raw), 1):
        if not line.strip():
            continue
        try:
            row = _row(line, number)
        except BadRow as fault:
            faults.append(f"line {number}: {fault.reason}")
            continue
        if row is None:
            nameless.append(number)
        elif row.id in hashes:
            faults.append(f"line {number}: id {row.id!r} stands there twice")
        else:
            rows.append(row)
            hashes[row.id] = line_hash(line)
    if faults:
        more = f"; and {len(faults) - MAX_LISTED} more" if len(faults) > MAX_LISTED else ""
        raise TrainError(f"{path}: {'; '.join(faults[:MAX_LISTED])}{more}")
    if nameless:
        raise TrainError(
            f"{path}: {len(nameless)} rows have no id (line {nameless[0]} first), and an edit must name its row; "
            f"`trainkit prepare {path} --out DIR --test-share 0` writes rows with ids"
        )
    if not rows:
        raise TrainError(f"{path}: no row in it; expected one JSON object a line with id, question and answer")
    return DataSet(path, hashlib.sha256(raw).hexdigest(), tuple(rows), hashes)


def lines_of(raw: bytes) -> list[bytes]:
    r"""Return the lines of a file, each with its "\n"; joined they are the file."""
    *whole, last = raw.split(b"\n")
    return [line + b"\n" for line in whole] + ([last] if last else [])


def line_hash(line: bytes) -> str:
    """Return 16 hex digits of a line without its end."""
    return hashlib.sha256(line.rstrip(b"\r\n")).hexdigest()[:16]


def rewritten(raw: bytes, edits: Iterable[Edit]) -> bytes:
    """Return a file's bytes with edits written into them, one after the other; other lines keep every byte.

    Raises:
        TrainError: a row is not there, or its line is not the one that the edit was made for.
    """
    lines: list[bytes | None] = list(lines_of(raw))
    places = dict(_named(raw))
    for edit in edits:
        if edit.action not in CHANGING:
            continue
        place = places.get(edit.row_id)
        line = None if place is None else lines[place]
        if place is None or line is None:
            raise TrainError(f"edit {edit.id}: no row {edit.row_id!r} is there; another edit may have removed it")
        if line_hash(line) != edit.row_hash:
            raise TrainError(f"edit {edit.id}: row {edit.row_id!r} is not as it was when the edit was planned")
        lines[place] = None if edit.action in REMOVING else with_answer(line, edit.after)
    return b"".join(line for line in lines if line is not None)


def with_answer(line: bytes, answer: str) -> bytes:
    """Return a line with another answer, its keys in their order and its end as it is."""
    end = line[len(line.rstrip(b"\r\n")) :]
    record = json.loads(line.removeprefix(_BOM))
    holder, key = _place(record)
    holder[key] = answer
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + end


def _named(raw: bytes) -> Iterator[tuple[str, int]]:
    for place, line in enumerate(lines_of(raw)):
        if line.strip():
            yield str(parse_object(line.removeprefix(_BOM).rstrip(b"\r\n")).get("id")), place


def _row(line: bytes, number: int) -> TrainRow | None:
    """Return the row of a line, None where it has no id; BadRow where it is no row at all."""
    try:
        record = parse_object(line.removeprefix(_BOM).rstrip(b"\r\n"))
        holder, key = _place(record)
    except ValueError as fault:
        raise BadRow(f"line {number}", str(fault)) from None
    answer = holder[key]
    if isinstance(answer, str) and not answer.strip():
        holder[key] = "-"  # `row_of` takes no empty answer
        row = replace(row_of(record, number), answer=answer)
    else:
        row = row_of(record, number)
    return None if record.get("id") in (None, "") else row


def _place(record: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the object that holds the answer and its key, as `row_of` reads it; ValueError where there is none."""
    turns = record.get("messages")
    if isinstance(turns, list) and turns and isinstance(turns[-1], dict) and "content" in turns[-1]:
        return turns[-1], "content"
    if "question" not in record and set(record) >= ALPACA:
        return record, "output"
    if "answer" in record:
        return record, "answer"
    raise ValueError("no answer in it (keys: answer, Alpaca's output, or messages)")
