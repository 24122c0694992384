"""Files of training rows -> TrainRows: question and answer, chat messages or Alpaca's fields, each fault by its line.

Loads no model and knows no tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.examples import record_id
from evalkit.jsonl import MAX_LISTED, parse_object
from evalkit.registry import did_you_mean
from evalkit.types import Message
from trainkit.errors import BadRow, TrainError

ALPACA = {"instruction", "output"}
_BOM = b"\xef\xbb\xbf"
_OTHER = {
    b"\x1f\x8b": "gzip; unpack it first",
    b"PK": "a zip archive; unpack it first",
    b"\xff\xfe": "UTF-16; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
}
_ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class TrainRow:
    """One question with the answer to learn."""

    id: str
    """Unique within its file; the hash of its content where the file gives none."""
    input: str | tuple[Message, ...]
    """The question, or the turns before the answer."""
    answer: str
    """The text to learn."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the file says of it."""
    line: int = 0
    """Line in its file, from 1."""

    @property
    def question(self) -> str:
        """Return the question as one text."""
        if isinstance(self.input, str):
            return self.input
        return next((m.content for m in reversed(self.input) if m.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Reading:
    """The rows of a file, and those that could not be read."""

    rows: tuple[TrainRow, ...]
    """Readable rows in file order."""
    bad: Mapping[str, str]
    """Line -> why it was left out."""
    sha256: str
    """Hash of the file."""


def read_rows(path: str | Path, input_key: str = "question", output_key: str = "answer", bad: str = "raise") -> Reading:
    """Read training rows; with `bad="drop"` unreadable ones are listed instead of raised.

    Raises:
        TrainError: the file cannot be read, holds no row, or rows are broken (up to 20 are listed).
    """
    raw = _bytes(Path(path))
    rows: list[TrainRow] = []
    faults: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, line in _lines(raw):
        try:
            row = row_of(_parsed(line), number, input_key, output_key)
            rows.append(_unique(row, seen))
        except BadRow as fault:
            faults[f"line {number}"] = fault.reason
    if faults and bad == "raise":
        listed = "; ".join(f"{where}: {why}" for where, why in list(faults.items())[:MAX_LISTED])
        more = f"; and {len(faults) - MAX_LISTED} more" if len(faults) > MAX_LISTED else ""
        raise TrainError(f"{path}: {listed}{more} (--bad-rows drop leaves such rows out, counted)")
    if not rows:
        raise TrainError(
            f"{path}: no row to train on; expected one JSON object a line with {input_key!r} and {output_key!r}"
        )
    return Reading(tuple(rows), faults, hashlib.sha256(raw).hexdigest())


def row_of(record: Mapping[str, Any], line: int, input_key: str = "question", output_key: str = "answer") -> TrainRow:
    """Build a row from one record; BadRow names the line and the key that is wrong."""
    here = f"line {line}"
    question: str | tuple[Message, ...]
    if "messages" in record:
        *turns, last = _messages(record["messages"], here)
        question, answer = tuple(turns), last.content
    elif input_key not in record and set(record) >= ALPACA:
        extra = _text(record, "input", here) if record.get("input") else ""
        question = _text(record, "instruction", here) + (f"\n\n{extra}" if extra else "")
        answer = _text(record, "output", here)
    else:
        question, answer = _text(record, input_key, here), _text(record, output_key, here)
    given = record.get("id")
    if not isinstance(given, str | int | None) or isinstance(given, bool):
        raise BadRow(here, f"id = {given!r}: expected a text")
    meta = record.get("meta") if isinstance(record.get("meta"), Mapping) else {}
    name = record_id(record) if given in (None, "") else str(given)
    return TrainRow(name, question, answer, dict(meta or {}), line)


def _text(record: Mapping[str, Any], key: str, here: str) -> str:
    if key not in record:
        known = [k for k in record if k not in ("id", "meta")]
        raise BadRow(here, f"no key {key!r}{did_you_mean(key, known) if known else ''}")
    value = record[key]
    if not isinstance(value, str):
        raise BadRow(here, f"{key} is {type(value).__name__}, expected a text")
    if not value.strip():
        raise BadRow(here, f"{key} is empty")
    return value


def _messages(value: Any, here: str) -> list[Message]:
    if not isinstance(value, list) or len(value) < 2:
        raise BadRow(here, "messages: expected a list of at least a user's and an assistant's turn")
    turns = []
    for turn in value:
        if not isinstance(turn, Mapping) or not {"role", "content"} <= set(turn):
            raise BadRow(here, "messages: a turn is not {'role': text, 'content': text}")
        if turn["role"] not in _ROLES or not isinstance(turn["content"], str):
            raise BadRow(
                here, f"messages: role {turn['role']!r} or its content is not as expected (roles: {', '.join(_ROLES)})"
            )
        turns.append(Message(turn["role"], turn["content"]))
    if turns[-1].role != "assistant" or not turns[-1].content.strip():
        raise BadRow(here, "messages: the last turn is not an assistant's answer")
    return turns


def _unique(row: TrainRow, seen: dict[str, int]) -> TrainRow:
    """Refuse an id that stands twice; an equal row without an id is another copy, kept apart by its line."""
    if row.id not in seen:
        seen[row.id] = row.line
        return row
    if len(row.id) == 16 and set(row.id) <= set("0123456789abcdef"):
        return TrainRow(f"{row.id}-{row.line}", row.input, row.answer, row.meta, row.line)
    raise BadRow(f"line {row.line}", f"id {row.id!r} stands in line {seen[row.id]} already")


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        return parse_object(line)
    except ValueError as fault:
        raise BadRow("", f"not a JSON object ({fault})") from None


def _bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as fault:
        raise TrainError(f"{path}: cannot be read: {fault.strerror}") from None
    for magic, name in _OTHER.items():
        if raw.startswith(magic):
            raise TrainError(f"{path}: expected JSON lines in UTF-8, found {name}")
    return raw


def _lines(raw: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(raw.removeprefix(_BOM).split(b"\n"), 1):
        if line.strip():
            yield number, line.rstrip(b"\r")


def content_key(row: TrainRow) -> str:
    """Return the hash that decides on which side of a split a row falls: equal questions fall on one side."""
    return hashlib.sha256(" ".join(row.question.lower().split()).encode()).hexdigest()


def split_rows(rows: Sequence[TrainRow], share: float) -> tuple[list[TrainRow], list[TrainRow]]:
    """Return (kept, set aside): by content hash, so a row never changes sides when others come or go."""
    bound = int(share * 2**64)
    aside = [int(content_key(row)[:16], 16) < bound for row in rows]
    return [r for r, a in zip(rows, aside, strict=True) if not a], [r for r, a in zip(rows, aside, strict=True) if a]
