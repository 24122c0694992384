"""The items of the page's browser as JSON that may stand inside HTML, cut into chunks and packed where they are many.

Answers are kept as the model wrote them; the page inserts them as text and shows hidden characters.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.report.board import Board, Part
from evalkit.report.words import changed_spans, equal_pairs, same_words
from evalkit.types import Example, Row

CHUNK = 2_000
"""Items in one chunk: the page stays alive between two."""
PLAIN_BYTES = 1_000_000
"""Up to so much JSON is written as it is, to be read and searched in the file; more is packed."""
EQUAL_PAIRS = 2_000_000
"""Pairs of equal words, over all pairs of answers, that are looked at: some seconds; items that changed come first."""
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the items."""

    text: str
    """JSON without `<`, or its gzip in base64."""
    packed: bool
    """Whether it is gzip in base64."""


@dataclass(frozen=True, slots=True)
class Items:
    """All items of the page."""

    chunks: tuple[Chunk, ...]
    """The items, in order."""
    count: int
    """How many there are."""
    unmarked: int
    """Pairs of answers in other words without a mark: they differ later than is compared, or it would take too long."""


def items_of(board: Board) -> Items:
    """Return every item of every suite with the answers of every checkpoint."""
    records = [record for part in board.parts for record in _records(part)]
    unmarked = mark_changes(records)
    texts = [
        "[" + ",".join(html_safe(record) for record in records[start : start + CHUNK]) + "]"
        for start in range(0, len(records), CHUNK)
    ]
    packed = sum(map(len, texts)) > PLAIN_BYTES
    chunks = (Chunk(_packed(text) if packed else text, packed) for text in texts)
    return Items(tuple(chunks), len(records), unmarked)


def html_safe(value: Any) -> str:
    """Return JSON that no HTML parser can leave: without `<`, `>`, `&` and the line separators of JavaScript."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def mark_changes(records: Sequence[Record], budget: int = EQUAL_PAIRS) -> int:
    """Add to answers the spans of words that the first one's lacks, and return how many pairs have no mark.

    The first checkpoint's answer gets the words that the last one's lacks.
    """
    differing = [(record, column) for record in records for column in _differing(record["answers"])]
    left_out = 0
    for record, column in sorted(differing, key=lambda pair: _unchanged(*pair)):
        first, later = record["answers"][0], record["answers"][column]
        cost = equal_pairs(first["text"], later["text"])
        if cost > budget:
            left_out += 1
            continue
        budget -= cost
        before, later["changed"] = changed_spans(first["text"], later["text"])
        left_out += not (before or later["changed"] or same_words(first["text"], later["text"]))
        if column == len(record["answers"]) - 1:
            first["changed"] = before
    return left_out


def _differing(answers: Sequence[Record | None]) -> Iterator[int]:
    """Yield the columns whose answer differs from the first one's."""
    if first := answers[0]:
        yield from (i for i, later in enumerate(answers) if later and later["text"] != first["text"])


def _unchanged(record: Record, column: int) -> bool:
    return record["answers"][column].get("flip") not in ("broken", "fixed")


def _records(part: Part) -> Iterator[Record]:
    """Yield an item per example and trial, in the order in which they are met."""
    columns: list[dict[tuple[str, int], Row]] = [
        {(row.example.id, row.trial): row for row in run.rows} if run else {} for run in part.runs
    ]
    flips = {change.column: change.flips for change in part.changes}
    for item, trial in dict.fromkeys(key for column in columns for key in column):
        rows = [column.get((item, trial)) for column in columns]
        answers = [_answer(row) if row else None for row in rows]
        for column, answer in enumerate(answers):
            if answer and column in flips:
                answer["flip"] = flips[column].get(item, "unchanged")
        example = next(row.example for row in rows if row)
        yield {**_question(example), "suite": part.suite, "trial": trial, "answers": answers}


def _question(example: Example) -> Record:
    record: Record = {"id": example.id, "question": example.question, "target": list(example.target)}
    if not isinstance(example.input, str) and len(example.input) > 1:
        record["turns"] = [{"role": turn.role, "content": turn.content} for turn in example.input]
    if example.choices:
        record["choices"] = list(example.choices)
    if example.meta:
        record["meta"] = dict(example.meta)
    return record


def _answer(row: Row) -> Record:
    response = row.response
    record: Record = {"text": response.text, "finish": response.finish, "tokens": response.tokens}
    if response.error is not None:
        record["error"] = response.error
    if response.choice_logprobs:
        record["logprobs"] = [round(value, 4) for value in response.choice_logprobs]
    record["scores"] = {s.name: None if s.value is None else round(s.value, 4) for s in row.scores}
    if whys := {s.name: s.why for s in row.scores if s.why}:
        record["why"] = whys
    if row.tags:
        record["tags"] = [
            {"category": t.category, "severity": t.severity, "why": t.why, "span": t.span, "confidence": t.confidence}
            for t in row.tags
        ]
        record["primary"] = row.primary
    return record


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode("ascii")
