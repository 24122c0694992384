"""Rows and responses as JSON and back: the one place that knows the layout of rows.jsonl and of tables. Pure.

Texts that many rows repeat (names, categories, reasons) are one object in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from types import NoneType
from typing import Any, get_args

from evalkit.types import SEVERITY_WEIGHTS, Example, Finish, Message, Response, Row, Score, Tag


def response_record(response: Response) -> dict[str, Any]:
    """Return a response as a JSON record, every field present."""
    return _fields(response)


def response_of(record: Mapping[str, Any]) -> Response:
    """Rebuild a response; fields that an older record lacks keep their defaults."""
    lists = {key: tuple(record.get(key) or ()) for key in ("choice_logprobs", "choice_greedy", "target_tokens")}
    return Response(**{**record, **lists})


def example_record(example: Example) -> dict[str, Any]:
    """Return an example as a JSON record; a chat is a list of {role, content}."""
    said = example.input
    return {**_fields(example), "input": said if isinstance(said, str) else [_fields(turn) for turn in said]}


def stored_example(record: Mapping[str, Any]) -> Example:
    """Rebuild an example that we wrote ourselves."""
    given = record["input"]
    return Example(
        id=record["id"],
        input=given if isinstance(given, str) else tuple(Message(**turn) for turn in given),
        target=tuple(record["target"]),
        choices=tuple(record["choices"]),
        meta=dict(record["meta"]),
    )


def row_record(row: Row) -> dict[str, Any]:
    """Return a row as the JSON record of rows.jsonl."""
    return {
        "example": example_record(row.example),
        "trial": row.trial,
        "response": response_record(row.response),
        "scores": [_fields(score) for score in row.scores],
        "tags": [_fields(tag) for tag in row.tags],
        "primary": row.primary,
    }


def row_of(record: Mapping[str, Any]) -> Row:
    """Rebuild a row from its JSON record, which may be anybody's.

    Raises:
        KeyError, TypeError, ValueError: it is no record of a row.
    """
    row = Row(
        example=stored_example(record["example"]),
        response=response_of(record["response"]),
        trial=record["trial"],
        scores=tuple([_score(score) for score in record["scores"]]),
        tags=tuple([_tag(tag) for tag in record["tags"]]),
        primary=record["primary"],
    )
    _refuse_types(row)
    return row


def flat_record(row: Row) -> dict[str, Any]:
    """Return a row as one flat record for tables: id, trial, question, answer, target, scores, tags, primary, meta."""
    return {
        "id": row.example.id,
        "trial": row.trial,
        "question": row.example.question,
        "answer": row.response.text,
        "target": list(row.example.target),
        "finish": row.response.finish,
        "error": row.response.error,
        "tokens": row.response.tokens,
        **{score.name: score.value for score in row.scores},
        "tags": [tag.category for tag in row.tags],
        "primary": row.primary,
        **{f"meta.{key}": value for key, value in row.example.meta.items()},
    }


def _fields(value: Example | Message | Response | Score | Tag) -> dict[str, Any]:
    """Return a flat record as a dict; several times as fast as `asdict`, which copies all that is inside."""
    return {name: getattr(value, name) for name in value.__slots__}


def _refuse_types(row: Row) -> None:
    """Raise TypeError where a field holds another type than the vocabulary says."""
    asked, answer = row.example, row.response
    texts = [asked.id, answer.text, answer.sent, *asked.target, *asked.choices]
    maybe = [answer.error, row.primary]
    for score in row.scores:
        texts += (score.name, score.why)
        maybe.append(score.answer)
    for tag in row.tags:
        texts += (tag.category, tag.why)
    if not isinstance(asked.input, str):
        texts += [text for turn in asked.input for text in (turn.role, turn.content)]
    wholes = [row.trial, answer.truncated_tokens, *answer.target_tokens]
    counts = [answer.tokens, answer.prompt_tokens]
    for values, kinds in (
        (texts, {str}), (maybe, {str, NoneType}), (wholes, {int}), (counts, {int, NoneType}),
        (answer.choice_logprobs, {float, int}), (answer.choice_greedy, {bool}),
    ):  # fmt: skip
        if not set(map(type, values)) <= kinds:
            raise TypeError(f"a value in {str(values)[:60]} is of another type")
    if not 0 <= row.trial < 2**31:
        raise ValueError(f"trial {str(row.trial)[:20]} is no number of a repetition")
    if answer.finish not in get_args(Finish):
        raise ValueError(f"finish {str(answer.finish)[:20]!r} is unknown")


def _score(record: Mapping[str, Any]) -> Score:
    score = Score(**{**record, "name": intern(record["name"]), "why": intern(record["why"])})
    if score.value is not None and not 0 <= score.value <= 1:
        raise ValueError(f"score {score.value} is not in 0..1")
    return score


def _tag(record: Mapping[str, Any]) -> Tag:
    shared = {key: intern(record[key]) for key in ("category", "severity", "why")}
    tag = Tag(**{**record, **shared, "span": _span(record["span"])})
    if tag.severity not in SEVERITY_WEIGHTS or not 0 <= tag.confidence <= 1:
        raise ValueError(f"severity {tag.severity!r} or confidence {tag.confidence} is unknown")
    return tag


def _span(given: Any) -> tuple[int, int] | None:
    if given is None:
        return None
    start, end = given
    if {type(start), type(end)} != {int} or not 0 <= start <= end:
        raise ValueError(f"span {str(given)[:40]} is no [start, end)")
    return start, end
