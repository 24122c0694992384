"""Records (of examples.jsonl, of a data set, of an answers file) -> Examples, each fault named with its line. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalkit.errors import SuiteError
from evalkit.jsonl import MAX_LISTED, dump
from evalkit.registry import did_you_mean
from evalkit.types import Example, Message

FIELDS = ("id", "input", "target", "choices", "meta")


def examples_of(rows: Iterable[tuple[int, Mapping[str, Any]]], where: str) -> tuple[Example, ...]:
    """Build examples from (line number, record).

    Raises:
        SuiteError: records have wrong fields (up to 20 are listed), or two lines have the same id.
    """
    examples: list[Example] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    for number, record in rows:
        try:
            for key in record:
                if key not in FIELDS:
                    raise SuiteError(f"line {number}: unknown key {key!r}{did_you_mean(key, FIELDS)}")
            example = example_of(record, f"line {number}")
            if example.id in lines:
                raise SuiteError(f"line {number}: id {example.id!r} stands in line {lines[example.id]} already")
            lines[example.id] = number
            examples.append(example)
        except SuiteError as fault:
            faults.append(str(fault))
    raise_listed(where, faults)
    return tuple(examples)


def raise_listed(where: str, faults: Sequence[str]) -> None:
    """Raise SuiteError with the first 20 faults; without any, do nothing."""
    if faults:
        more = f"; and {len(faults) - MAX_LISTED} more" if len(faults) > MAX_LISTED else ""
        raise SuiteError(f"{where}: {'; '.join(faults[:MAX_LISTED])}{more}")


def example_of(record: Mapping[str, Any], where: str, *, blank: bool = False) -> Example:
    """Build one example; without an `id` it gets the hash of its canonical record.

    With `blank` the input may be empty: data sets of others hold such questions, and answers may come without theirs.
    """
    if "input" not in record:
        raise SuiteError(f"{where}: no 'input'")
    question = "" if blank and record["input"] == "" else _input(record["input"], where)
    target, choices = _texts(record.get("target"), "target", where), _texts(record.get("choices"), "choices", where)
    meta = record.get("meta")
    if not isinstance(meta, Mapping | None):
        raise SuiteError(f"{where}: meta is {_kind(meta)}, expected an object")
    given = record.get("id")
    if not isinstance(given, str | int | None) or isinstance(given, bool) or given == "":
        raise SuiteError(f"{where}: id is {_kind(given)}, expected a text")
    return Example(
        id=record_id(record) if given is None else str(given),
        input=question,
        target=target,
        choices=choices,
        meta=dict(meta or {}),
    )


def record_id(record: Mapping[str, Any]) -> str:
    """Return 16 hex digits of the sha256 of a record's canonical JSON."""
    return hashlib.sha256(dump({k: v for k, v in record.items() if k != "id"}).encode()).hexdigest()[:16]


def _input(value: Any, where: str) -> str | tuple[Message, ...]:
    if isinstance(value, str):
        if not value.strip():
            raise SuiteError(f"{where}: input is empty")
        return value
    if not isinstance(value, list) or not value:
        raise SuiteError(f"{where}: input is {_kind(value)}, expected a text or a list of messages")
    turns = []
    for turn in value:
        if (
            not isinstance(turn, Mapping)
            or set(turn) != {"role", "content"}
            or not all(isinstance(v, str) for v in turn.values())
        ):
            raise SuiteError(f"{where}: a message of input is not {{'role': text, 'content': text}}")
        turns.append(Message(turn["role"], turn["content"]))
    if turns[-1].role != "user":
        raise SuiteError(f"{where}: the last message of input is of {turns[-1].role!r}, expected 'user'")
    return tuple(turns)


def _texts(value: Any, key: str, where: str) -> tuple[str, ...]:
    """Return a text, a list of texts or nothing as a tuple; numbers and true/false are read as their text."""
    items = [] if value is None else value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str | int | float):
            raise SuiteError(f"{where}: {key} is {_kind(item)}, expected a text or a list of texts")
    return tuple(item if isinstance(item, str) else dump(item) for item in items)


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a text"}
    return "an empty text" if value == "" else names.get(type(value), "a number")
